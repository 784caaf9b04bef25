"""Ranges that are not symmetric about zero: by hand, for every kind of converter, as calibrated, in reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import ADC, DAC, Hardware, InputError, TrackedRange, calibrate, range_report
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Offset
from analogsim.linen import AnalogDense
from analogsim.nnx import AnalogLinear
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup, MatrixProduct

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
KERNEL = RNG.normal(size=(64, 5)).astype(np.float32)
SIGNED = RNG.uniform(-1, 1, (300, 64)).astype(np.float32)
OFFSET = Hardware(store=Crossbar(cell=GenericCell(), mapping=Offset()), dac=DAC(), adc=ADC(bits=6))


@jax.jit
def converted(adc, values, ranges=Ranges(1.0)):  # noqa: B008
    """Values as a single cell of weight 1 makes them of inputs, converted."""
    hardware = Hardware(adc=adc)
    held = program(hardware, jnp.ones((1, 1)), KEY).read(0.0)
    operator = MatrixProduct((1,), (0,), 2, (1, 1))
    return multiply(hardware, held, values[:, None], operator, key=KEY, ranges=ranges)[:, 0]


VALUES = np.float32([-9.0, -0.4, 0.0, 0.3, 1.3, 2.6, 3.4])


def test_codes_lie_between_both_ends():
    # 3 bits from 0 to 3: seven codes, half a unit apart. 1.3 is nearest to 1.5, 0.3 to 0.5.
    y = converted(ADC(bits=3, range=1.5, middle=1.5), VALUES)
    np.testing.assert_allclose(y, [0, 0, 0, 0.5, 1.5, 2.5, 3], atol=1e-6)
    # From -3 to 0.
    y = converted(ADC(bits=3, range=1.5, middle=-1.5), -VALUES)
    np.testing.assert_allclose(y, [0, 0, 0, -0.5, -1.5, -2.5, -3], atol=1e-6)
    # Calibrated, it is the same, and a calibrated range stands in the place of the converter's own, middle included.
    y = converted(ADC(bits=3, range=9.0, middle=4.0), VALUES, Ranges(1.0, 1.5, middle=1.5))
    np.testing.assert_allclose(y, [0, 0, 0, 0.5, 1.5, 2.5, 3], atol=1e-6)
    y = converted(ADC(bits=3, range=9.0, middle=4.0), VALUES, Ranges(1.0, 1.5))
    np.testing.assert_allclose(y, [-1.5, -0.5, 0, 0.5, 1.5, 1.5, 1.5], atol=1e-6)


@pytest.mark.parametrize("middle", [1.3, 1.4, 1.5, 0.2])
def test_zero_stays_a_code(middle):
    adc = ADC(bits=3, range=1.5, middle=middle)
    y = np.asarray(converted(adc, VALUES))
    assert y[2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(y / 0.5, np.round(y / 0.5), atol=1e-5)


@pytest.mark.parametrize("kind", [RampADC, SARADC, PipelineADC, CyclicADC])
def test_every_circuit_takes_a_middle(kind):
    # 2 bits from 0 to 4: steps of 1, whose outputs lie half a step above the thresholds 0, 1, 2, 3.
    y = converted(kind(bits=2, range=2.0, middle=2.0), VALUES)
    np.testing.assert_allclose(y, [0.5, 0.5, 0.5, 0.5, 1.5, 2.5, 3.5], atol=1e-6)
    circuit = ADC(bits=2, style="mid-rise", range=2.0, middle=2.0)
    np.testing.assert_allclose(converted(circuit, VALUES), y, atol=1e-6)


def test_gradients_pass_inside_both_ends():
    gradient = jax.grad(lambda v: converted(ADC(bits=3, range=1.5, middle=1.5), v).sum())(VALUES)
    np.testing.assert_allclose(gradient, [0, 0, 1, 1, 1, 1, 0], atol=1e-6)


def test_what_is_within_the_ends_does_not_overflow():
    # 2.6 of 3: read once at its own range, though it is beyond half of the width.
    hardware = Hardware(dac=DAC(), adc=ADC(bits=8, range=1.5, middle=1.5), bound_management="iterative")

    @jax.jit
    def run(hardware, x):
        operator = MatrixProduct((1,), (0,), 2, (3, 1))
        return multiply(hardware, program(hardware, jnp.ones((3, 1)), KEY).read(0.0), x, operator, key=KEY)

    step = 3 / 254
    assert float(run(hardware, np.float32([[1.0, 1.0, 0.6]]))[0, 0]) == pytest.approx(2.6, abs=step)
    # Below zero it overflows at any range of its input: the range starts at zero.
    assert float(run(hardware, np.float32([[-1.0, 0, 0]]))[0, 0]) == pytest.approx(0.0, abs=1e-5)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match=r"ADC.middle = 2: must be at most range = 1.5 from zero, .* no input"):
        ADC(range=1.5, middle=2.0)
    with pytest.raises(InputError, match=r"RampADC.middle = 2: must be None unless range is set"):
        RampADC(middle=2.0)
    with pytest.raises(InputError, match=r"Hardware.output_range = .*: must be None for an ADC with a middle"):
        Hardware(adc=ADC(range=1.5, middle=1.0), output_range=TrackedRange())
    layer = AnalogDense(5, hardware=OFFSET)
    for bad, message in (
        (dict(symmetric="no"), r"symmetric = 'no': must be True or False"),
        (dict(symmetric=False, method="error"), r"method must be 'percentile' or 'max', not 'error'"),
    ):
        with pytest.raises(InputError, match=message):
            calibrate(layer, {"params": {"kernel": KERNEL}}, SIGNED, **bad)


# --- calibrated ------------------------------------------------------------------------------------------------------


def layer(hardware):
    return AnalogDense(5, use_bias=False, hardware=hardware)


def found(hardware, x, **options):
    model, variables = layer(hardware), {"params": {"kernel": KERNEL}}
    ranges = calibrate(model, variables, x, method="max", margin=1.0, **options)
    y = np.asarray(jax.jit(model.apply)(ranges, x, rngs={"analog": KEY}))
    row = range_report(model, ranges, x)[0]
    return ranges["ranges"]["analog"], row, np.sqrt(np.mean((y - x @ KERNEL) ** 2))


def test_lines_of_one_sign_gain_a_bit():
    x = np.abs(SIGNED)
    one, row_one, error_one = found(OFFSET, x)
    two, row_two, error_two = found(OFFSET, x, symmetric=False)
    # Lines above zero: from 0 to the same largest value, with twice as many codes.
    np.testing.assert_allclose(two["output"], one["output"] / 2, rtol=1e-6)
    np.testing.assert_allclose(two["middle"], one["output"] / 2, rtol=1e-6)
    assert row_two.enob[0] - row_one.enob[0] == pytest.approx(1.0, abs=0.1)
    assert error_two / error_one == pytest.approx(0.5, abs=0.06)
    assert row_two.outputs_clipped[0] < 0.01
    # The middle stands on a whole LSB: 31 or 32 of 31 steps.
    step = float(two["output"]) / 31
    assert row_two.output_middle[0] / step == pytest.approx(round(row_two.output_middle[0] / step), abs=1e-3)
    low, high = (float(end) for end in row_two.ends(0).split(" to "))
    assert low == pytest.approx(0.0, abs=step)
    assert high == pytest.approx(float(one["output"]), abs=step)
    assert row_two.ends(0) in str(
        range_report(layer(OFFSET), {"params": {"kernel": KERNEL}, "ranges": {"analog": two}}, x)
    )


def test_lines_about_zero_gain_nothing():
    pair = OFFSET.replace(store=Crossbar(cell=GenericCell()))
    one, _, error_one = found(pair, SIGNED)
    two, _, error_two = found(pair, SIGNED, symmetric=False)
    assert float(two["output"]) == pytest.approx(float(one["output"]), rel=0.1)
    assert error_two == pytest.approx(error_one, rel=0.12)


def test_slices_have_ends_of_their_own_whose_steps_differ_by_powers_of_two():
    slices = OFFSET.replace(**{"store.mapping": Differential(slices=BitSlices(widths=(2, 2, 3)))})
    two, row, error = found(slices.replace(**{"adc.bits": 8}), np.abs(SIGNED), symmetric=False)
    assert two["output"].shape == two["middle"].shape == (15,)
    assert len(row.output_middle) == 3
    assert error < 0.05 * np.std(np.abs(SIGNED) @ KERNEL)


def test_a_later_symmetric_calibration_takes_the_middle_away():
    model, variables = layer(OFFSET), {"params": {"kernel": KERNEL}}
    once = calibrate(model, variables, np.abs(SIGNED), symmetric=False)
    assert "middle" in once["ranges"]["analog"]
    assert "middle" not in calibrate(model, once, np.abs(SIGNED))["ranges"]["analog"]
    linear = AnalogLinear(64, 5, use_bias=False, hardware=OFFSET, rngs=nnx.Rngs(0))
    calibrate(linear, None, np.abs(SIGNED), symmetric=False)
    assert linear.dot_general.ranges.middle is not None
    calibrate(linear, None, np.abs(SIGNED))
    assert linear.dot_general.ranges.middle is None


def test_a_table_of_positive_lines():
    hardware = OFFSET.replace(dac=None)

    @jax.jit
    def read(ranges):
        held = program(hardware, KERNEL, KEY).read(0.0)
        return lookup(hardware, held, np.arange(64), Lookup(64), key=KEY, dtype=jnp.float32, ranges=ranges)

    # A cell carries from 0 to 1 and counts twice: 63 codes over twice the scale of a column.
    y = np.asarray(read(Ranges(output=0.5, middle=0.5)))
    assert (np.abs(y - KERNEL) < 1.02 * np.abs(KERNEL).max(0) / 62).all()
