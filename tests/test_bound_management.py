"""Bound management: examples that overflow an ADC are read again with a wider input range, each on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, InputError, preset
from analogsim.converters import BitSerialDAC
from analogsim.linen import AnalogConv, AnalogDense
from analogsim.operators import MatrixProduct
from analogsim.signal_path import multiply
from analogsim.tiles import program

#: Eight weights of one: a full input drives a line to 8, twice the range of 3.9 and a little more.
ONES = jnp.ones((8, 1))
OPERATOR = MatrixProduct((1,), (0,), 2, (8, 1))
PLAIN = Hardware(adc=ADC(bits=12, range=3.9))
MANAGED = PLAIN.replace(bound_management="iterative")


def run(hardware, x, key=None):
    return multiply(program(hardware, ONES, None).read(0.0), x, OPERATOR, key=key)


def test_an_overflowing_example_is_read_with_a_wider_range():
    x = jnp.stack([jnp.ones(8), jnp.ones(8).at[2:].set(0.0)])  # lines at 8 and 2
    step = 3.9 / 2047
    np.testing.assert_allclose(run(PLAIN, x)[:, 0], [3.9, 2.0], atol=step / 2)
    # 8 -> 4 -> 2: the range doubles twice, and so does the step, twice; the other example keeps its own.
    y = np.asarray(run(MANAGED, x), np.float64)[:, 0]
    assert y[0] == pytest.approx(8.0, abs=4 * step / 2 * 1.01)
    assert y[1] == pytest.approx(2.0, abs=step / 2 * 1.01)
    assert (y[0] / (4 * step)) == pytest.approx(round(y[0] / (4 * step)), abs=1e-3)


def test_one_overflow_does_not_change_the_other_examples():
    x = jax.random.uniform(jax.random.key(0), (6, 8), minval=-0.3)
    alone = run(MANAGED, x)
    together = run(MANAGED, jnp.concatenate([x, jnp.ones((1, 8))]))[:6]
    np.testing.assert_array_equal(alone, together)


def test_every_step_of_a_serial_input_counts():
    x = jnp.ones((1, 8)) * (85 / 127)  # 1010101: each driven bit reaches the full 8
    hardware = MANAGED.replace(dac=BitSerialDAC(bits=8), adc=ADC(bits=12, range=8.1))
    assert float(run(hardware, x)[0, 0]) == pytest.approx(8 * 85 / 127, rel=2e-3)


def test_tiles_and_images_are_managed_too():
    image = jnp.ones((2, 4, 4, 1)).at[1].set(0.0).at[1, 0, 0, 0].set(1.0)
    kernel = {"params": {"kernel": jnp.ones((3, 3, 1, 1))}}
    for rows in (9, 4):
        hardware = Hardware(rows=rows, dac=DAC(bits=12), adc=ADC(bits=12, range=2.0), bound_management="iterative")
        model = AnalogConv(1, (3, 3), hardware=hardware, use_bias=False)
        y = model.apply(kernel, image)
        expected = AnalogConv(1, (3, 3), hardware=None, use_bias=False).apply(kernel, image)
        np.testing.assert_allclose(y, expected, atol=0.03)


def test_it_ends_after_ten_doublings():
    # A range of 1e-3 is never reached by 8 within a factor of 1024: what is left is clipped at 1024 ranges.
    y = run(MANAGED.replace(adc=ADC(bits=12, range=1e-3)), jnp.ones((1, 8)))
    assert float(y[0, 0]) == pytest.approx(1.024, rel=1e-3)


def test_noise_gradients_and_jit_pass():
    hardware = preset("pcm", bound_management="iterative", **{"adc.range": 2.0})
    model = AnalogDense(5, hardware=hardware)
    x = jax.random.normal(jax.random.key(0), (4, 40))
    variables = model.init(jax.random.key(1), x)

    @jax.jit
    def loss(v):
        return jnp.sum(model.apply(v, x, rngs={"analog": jax.random.key(2)}) ** 2)

    slopes = jax.grad(loss)(variables)["params"]["kernel"]
    assert bool(jnp.all(jnp.isfinite(slopes)))
    with_it, exact = model.apply(variables, x, rngs={"analog": jax.random.key(2)}), x @ variables["params"]["kernel"]
    without = AnalogDense(5, hardware=hardware.replace(bound_management="none"))
    clipped = without.apply(variables, x, rngs={"analog": jax.random.key(2)})
    assert float(jnp.abs(with_it - exact).mean()) < float(jnp.abs(clipped - exact).mean())


def test_without_an_adc_there_is_nothing_to_manage():
    with pytest.raises(InputError, match="bound_management = 'iterative': must be 'none' where no ADC overflows"):
        Hardware(bound_management="iterative")
