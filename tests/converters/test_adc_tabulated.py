"""Converters with steps from a table: Max's published quantisers of a Gaussian, gradients, chips, files, fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adc_kinds import convert
from scipy import stats

from analogsim import ADC, DAC, Hardware, InputError, calibrate, fit_adc, from_toml, program, to_toml
from analogsim.converters import TabulatedADC, lloyd_max
from analogsim.converters.quality import linearity, transfer_curve
from analogsim.energy.chip import conversion_energy
from analogsim.linen import AnalogDense
from analogsim.signal_path import program as tiles_of
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup

#: A Gaussian by 400,000 of its quantiles: every cell's mean and error are exact to about 1e-5.
GAUSSIAN = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
TABLE = TabulatedADC(thresholds=np.float32([-0.5, 0.1, 0.5]), levels=np.float32([-0.75, -0.2, 0.2, 0.75]))
RNG = np.random.default_rng(1)
BARE = AnalogDense(2, use_bias=False, hardware=Hardware()), {"params": {"kernel": np.ones((2, 2), np.float32)}}


@pytest.mark.parametrize(
    ("bits", "levels", "thresholds", "error"),
    [
        # J. Max, IRE Trans. Inf. Theory 6, 7 (1960), table I, N = 2, 4, 8.
        (1, [0.7980], [], 0.3634),
        (2, [0.4528, 1.510], [0.9816], 0.1175),
        (3, [0.2451, 0.7560, 1.344, 2.152], [0.5006, 1.050, 1.748], 0.03454),
    ],
)
def test_a_gaussian_is_quantised_as_published(bits, levels, thresholds, error):
    table = lloyd_max(GAUSSIAN, bits)
    half = 2**bits // 2
    np.testing.assert_allclose(table.levels[half:], levels, rtol=6e-4)  # printed to four digits
    np.testing.assert_allclose(table.levels[:half], -table.levels[half:][::-1], rtol=1e-4)
    np.testing.assert_allclose(table.thresholds[half:], thresholds, rtol=6e-4)
    assert table.thresholds[half - 1] == pytest.approx(0.0, abs=1e-4)
    assert table.error == pytest.approx(error, rel=6e-4)


def test_many_codes_reach_the_law_of_panter_and_dite():
    # Error pi sqrt(3) / 2 / n^2 for n codes, from below; Max's value at n = 32 is 0.002499.
    assert lloyd_max(GAUSSIAN, 5).error == pytest.approx(0.002499, rel=2e-3)
    assert lloyd_max(GAUSSIAN, 7).error == pytest.approx(np.pi * np.sqrt(3) / 2 / 128**2, rel=0.02)


def test_of_even_values_the_steps_are_even():
    table = lloyd_max(np.linspace(-1, 1, 40_001), 4)
    np.testing.assert_allclose(table.levels, (2 * np.arange(16) - 15) / 16, atol=1e-3)


def test_both_conditions_hold_for_any_values():
    values = np.concatenate([RNG.exponential(size=5000), RNG.normal(8, 0.1, size=300)])
    table = lloyd_max(values, 3)
    np.testing.assert_allclose(table.thresholds, (table.levels[1:] + table.levels[:-1]) / 2)
    cell = np.searchsorted(table.thresholds, values, side="right")
    np.testing.assert_allclose(table.levels, [values[cell == k].mean() for k in range(8)], atol=1e-4)


def test_the_table_by_hand():
    values = np.float32([-9, -2, -1, 0.19, 0.2, 0.99, 1, 9, np.nan])[:, None]
    y = np.asarray(convert(TABLE, values, 2.0, None))[:, 0]
    np.testing.assert_allclose(y[:-1], [-1.5, -1.5, -0.4, -0.4, 0.4, 0.4, 1.5, 1.5], rtol=1e-6)
    assert np.isnan(y[-1])
    assert (TABLE.codes, TABLE.bits) == (4, 2)
    assert TABLE.lsb == pytest.approx(0.5)


def test_gradients_are_those_of_the_value_and_of_the_outputs_that_it_took():
    values = jnp.array([-9.0, -0.3, 0.7, 9.0])

    def total(adc, values, bound):
        return jnp.sum(adc.convert(values, bound, None))

    adc, of_values, of_bound = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(TABLE, values, 2.0)
    np.testing.assert_allclose(of_values, [0, 1, 1, 0])
    assert float(of_bound) == pytest.approx(0.0)  # one clipped on each side
    np.testing.assert_allclose(adc.levels, [2, 2, 2, 2])  # each code was taken once, times the range
    np.testing.assert_allclose(adc.thresholds, 0.0)


def test_fitted_to_values_it_is_relative_to_the_largest():
    adc = TabulatedADC.fit(3 * GAUSSIAN[20::40], bits=2)
    largest = float(3 * np.abs(GAUSSIAN[20::40]).max())
    assert adc.range == pytest.approx(largest, rel=1e-6)
    np.testing.assert_allclose(
        np.asarray(adc.levels) * largest, 3 * np.array([-1.510, -0.4528, 0.4528, 1.510]), rtol=3e-3
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TABLE.replace(levels=np.float32([0, 1])), r"levels of shape \(2,\), thresholds of shape \(3,\)"),
        (lambda: TABLE.replace(thresholds=np.float32([0.5, 0, 0.6])), r"thresholds = .*: must be ascending"),
        (lambda: TABLE.replace(levels=np.float32([-1, 0, 0.5, 3])), r"TabulatedADC.levels = 3: must be at least -1"),
        (lambda: lloyd_max(GAUSSIAN[:10], 0), r"bits = 0: must be an integer between 1"),
        (lambda: lloyd_max([1.0, 1.0], 2), r"values: must be finite numbers, two of them different"),
        (lambda: TabulatedADC.fit([0.0], bits=2), r"values: must be finite numbers, not all of them zero"),
        (lambda: fit_adc(*BARE, np.ones((3, 2), np.float32), bits=2), r"the model has no layer with an ADC"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# --- in models -------------------------------------------------------------------------------------------------------

KERNEL, X = RNG.normal(size=(96, 8)).astype(np.float32), RNG.normal(size=(400, 96)).astype(np.float32)


def outputs(hardware, variables):
    layer = AnalogDense(8, use_bias=False, hardware=hardware)
    chip = program(layer, variables, jax.random.key(0), X)
    return np.asarray(jax.jit(layer.apply)(chip.variables, X, rngs={"analog": jax.random.key(1)}))


def test_a_converter_fitted_to_a_model_loses_less_than_even_steps():
    hardware = Hardware(dac=DAC(), adc=ADC(bits=4))
    layer, variables = AnalogDense(8, use_bias=False, hardware=hardware), {"params": {"kernel": KERNEL}}
    calibrated = calibrate(layer, variables, X, method="max", margin=1.0)
    adc = fit_adc(layer, calibrated, X, bits=4)
    assert adc.range is None
    exact = X @ KERNEL
    even, fitted = (np.sqrt(np.mean((outputs(hardware.replace(adc=a), calibrated) - exact) ** 2))
                    for a in (hardware.adc, adc))  # fmt: skip
    # ADC inputs are close to Gaussian: sqrt(0.009497) (Max, N = 16) of their standard deviation with all codes in use.
    # Even steps from -4 to 4 standard deviations lose 8/15/sqrt(12) of it.
    per_column = exact.std()
    assert fitted < 0.125 * per_column
    assert np.log2(even / fitted) > 0.4


def test_it_goes_where_converters_go():
    # Files, prices, another layer of the same model, automatic ranges, quality.
    hardware = Hardware(dac=DAC(), adc=TABLE)
    back = from_toml(to_toml(hardware))
    np.testing.assert_allclose(np.asarray(back.adc.levels), np.asarray(TABLE.levels), rtol=1e-6)
    assert float(conversion_energy.typical_j(hardware.energy_table, TABLE.bits)) == float(
        conversion_energy.typical_j(hardware.energy_table, 2)
    )
    y = outputs(hardware, {"params": {"kernel": KERNEL}})
    assert len(np.unique(np.round(y[0] / np.abs(KERNEL).max(0) / np.abs(X[0]).max(), 4))) <= 4
    assert transfer_curve(TABLE).outputs.shape[1] == 1
    assert linearity(TABLE).dnl.shape == (2, 1)


def test_rows_of_a_stored_table_are_converted():
    """Its levels are those of one fully driven cell: 1 becomes 0.75, 0.4 becomes 0.2."""
    hardware, table = Hardware(adc=TABLE), np.float32([[1.0, 0.4], [-0.4, -1.0]])

    @jax.jit
    def rows(table):
        reading = tiles_of(hardware, table, None).read(0.0)
        return lookup(hardware, reading, np.arange(2), Lookup(2), key=None, dtype=table.dtype)

    np.testing.assert_allclose(rows(table), [[0.75, 0.2], [-0.2, -0.75]], rtol=1e-6)


def test_a_fitted_table_does_not_depend_on_the_batch_size():
    # The last 100 of 2100 examples are ten times as large: a batch size of 2000 sees them alone in a small batch.
    size = np.where(np.arange(2100) < 2000, 1, 10)[:, None]
    x = (np.random.default_rng(3).normal(size=(2100, 8)) * size).astype(np.float32)
    layer = AnalogDense(64, hardware=Hardware(adc=ADC(bits=8)))
    variables = calibrate(layer, layer.init(jax.random.key(0), jnp.ones((1, 8))), x, method="max")
    one, other = (fit_adc(layer, variables, x, bits=2, batch_size=batch_size) for batch_size in (2000, 300))
    np.testing.assert_allclose(one.levels, other.levels, rtol=0.03)
