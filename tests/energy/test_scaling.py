"""Scaling of logic by process and voltage: the published coefficients worked by hand."""

import itertools
import warnings

import pytest

from analogsim import InputError
from analogsim.energy.machines import scaling


def test_45_to_7_nm_at_the_same_voltage():
    # 7 nm: 0.1776 * 0.64 - 0.09097 * 0.8 + 0.02447 = 0.065358; 45 nm: 1.103 * 0.64 - 0.362 * 0.8 + 0.2767 = 0.69302
    with pytest.warns(UserWarning, match=r"0\.0943 is below 0\.3.*ADC, DAC, resistive cells, photonics, I/O, DRAM"):
        assert scaling.energy_factor(45, 7, 0.8, 0.8) == pytest.approx(0.0943, abs=5e-5)


def test_45_to_7_nm_with_the_supply():
    # 7 nm, 0.7 V: 0.047815; 45 nm, 0.9 V: 0.84433
    with pytest.warns(UserWarning, match="from 45 nm at 0.9 V to 7 nm at 0.7 V"):
        assert scaling.energy_factor(45, 7, 0.9, 0.7) == pytest.approx(0.0566, abs=5e-5)


def test_32_to_14_nm():
    # 0.8 V: 14 nm 0.096222; 32 nm 0.456936
    with pytest.warns(UserWarning, match="below"):
        assert scaling.energy_factor(32, 14, 0.8, 0.8) == pytest.approx(0.2106, abs=5e-5)


def test_area_of_the_published_pair():
    with pytest.warns(UserWarning, match="area_factor from 45 nm to 7 nm"):
        assert scaling.area_factor(45, 7) == 0.059
    assert scaling.area_factor(7, 45) == 17


def test_areas_agree_with_the_column_of_130_nm():
    # The pairs are printed with two digits: through 130 nm they agree within those.
    column = dict(zip(scaling.nodes(), (1, 0.44, 0.23, 0.16, 0.072, 0.033, 0.03, 0.027, 0.016, 0.0092), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one, other in itertools.product(column, column):
            assert scaling.area_factor(one, other) == pytest.approx(column[other] / column[one], rel=0.08)


def test_back_and_forth_is_one():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one, other in itertools.product(scaling.nodes(), scaling.nodes()):
            there = scaling.energy_factor(one, other, 0.9, 0.7)
            assert there > 0
            assert there * scaling.energy_factor(other, one, 0.7, 0.9) == pytest.approx(1)
            assert scaling.area_factor(one, other) * scaling.area_factor(other, one) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("node", scaling.nodes())
def test_energy_rises_with_the_voltage(node):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        factors = [scaling.energy_factor(node, node, 0.6, v / 100) for v in range(60, 131, 5)]
    assert factors == sorted(factors)


def test_a_large_factor_is_not_warned_of():
    assert scaling.energy_factor(45, 45, 0.9, 0.9) == 1
    assert scaling.energy_factor(45, 65, 0.9, 0.9) > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.energy_factor(28, 7, 0.8, 0.8), r"from_nm = 28: must be one of 130, .* 7 \(unit: nm\)"),
        (lambda: scaling.area_factor(45, 5), "to_nm = 5: must be one of 130"),
        (lambda: scaling.energy_factor(45, 7, 900, 0.8), r"from_v = 900: .* between 0.6 and 1.3 \(unit: V\)"),
        (lambda: scaling.energy_factor(45, 7, 0.8, float("nan")), "to_v = nan"),
        (lambda: scaling.energy_factor(45, 7, 0.8, "0.8 V"), "to_v = '0.8 V'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
