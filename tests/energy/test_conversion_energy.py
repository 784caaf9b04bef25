"""Energies of single actions against their formulae, worked by hand."""

import pytest

from analogsim import EnergyTable
from analogsim.energy.chip import adc, conversion_energy


def test_adc_of_eight_bits_costs_two_picojoules():
    # (310 fF * 8 + 1 aF * 4^8) * (0.9 V)^2 = (2.48 pF + 0.065536 pF) * 0.81 V^2
    assert EnergyTable().adc_energy_j(8) == pytest.approx(2.0619e-12, rel=1e-4)


def test_dac_of_eight_bits():
    # 50 fF * 8 * 0.81 V^2
    assert EnergyTable().dac_energy_j(8) == pytest.approx(0.324e-12, rel=1e-12)


def test_adc_survey_floor():
    # 0.267 pJ + 0.1446 aJ * 4^b; table of the survey fit: 0.277 pJ at 8 bits, 0.419 pJ at 10
    assert adc.floor_energy_j(8) == pytest.approx(0.27648e-12, rel=1e-4)
    assert adc.floor_energy_j(10) == pytest.approx(0.41862e-12, rel=1e-4)


def test_adc_survey_median():
    # ln e = -5.527 + 0.575 * 8 + 0.715 * ln 28 = -5.527 + 4.6 + 2.38252 = 1.45552; e^1.45552 = 4.2867
    assert adc.median_energy_j(8) == pytest.approx(4.2867e-12, rel=1e-4)


def test_the_band_is_floor_and_median_around_a_price_between_them():
    # The numbers of 8 bits above: floor 0.27648 pJ, the hardware's own 2.0619 pJ, median 4.2867 pJ.
    assert conversion_energy.band_j(EnergyTable(), 8) == pytest.approx((0.27648e-12, 2.0619e-12, 4.2867e-12), rel=1e-4)


def test_the_band_widens_to_a_price_below_the_floor():
    # 2.545536 pF * (0.3 V)^2 = 0.2291 pJ lies below the survey's floor of 0.27648 pJ.
    assert conversion_energy.band_j(EnergyTable(supply_v=0.3), 8)[:2] == pytest.approx(
        (0.2291e-12, 0.2291e-12), rel=1e-4
    )


def test_the_band_widens_to_a_price_above_the_median():
    # At 4 bits the default (310 fF * 4 + 256 aF) * 0.81 = 1.0046 pJ lies above the survey's median of 0.43 pJ.
    assert conversion_energy.band_j(EnergyTable(), 4)[1:] == pytest.approx((1.0046e-12, 1.0046e-12), rel=1e-4)
