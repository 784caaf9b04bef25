"""Slopes of the ADCs: straight-through for the input and the range, those of the mean response for the circuit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adc_kinds import IDEAL, REAL

from analogsim.converters import quantise

slopes = jax.jit(jax.grad(lambda adc, y, bound, state: adc.convert(y, bound, state).sum(), argnums=(1, 2)))


@pytest.mark.parametrize("adc", [*IDEAL.values(), *REAL.values()], ids=[*IDEAL, *(f"real {n}" for n in REAL)])
def test_slopes_are_those_of_the_uniform_converter(adc):
    state = adc.fabricate(jax.random.key(3), 4)
    y = jnp.array([-5.0, -2.1, -2.0, -1.9, -0.3, 0.0, 0.01, 2.0, 2.01, 7.0, 50.0])[:, None] * jnp.ones(4)
    by_y, by_bound = slopes(adc, y, 2.0, state)
    expected_y, expected_bound = jax.grad(lambda y, r: quantise(y, 6, r).sum(), argnums=(0, 1))(y, 2.0)
    np.testing.assert_array_equal(by_y, expected_y)
    assert float(by_bound) == float(expected_bound) == 4 * (3 - 2)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        # Value and step of the finite difference.
        ("ramp", dict(comparator_offset=(0.02, 0.01), capacitor_mismatch=(0.005, 0.003), amplifier_gain_db=(45, 1))),
        ("SAR", dict(comparator_offset=(0.02, 0.01), capacitor_mismatch=(0.005, 0.003), amplifier_gain_db=(45, 1))),
        ("split SAR", dict(capacitor_mismatch=(0.005, 0.003), amplifier_gain_db=(45, 1))),
        ("cyclic", dict(capacitor_mismatch=(0.005, 0.003), amplifier_gain_db=(45, 1))),
        (
            "pipeline",
            dict(capacitor_mismatch=(0.005, 0.003), amplifier_gain_db=(45, 1), parasitic_capacitance=(0.5, 0.3)),
        ),
        ("mid-rise", dict(gain_error=(0.02, 0.01), offset_error=(0.5, 0.1))),
        ("mid-tread", dict(gain_error=(0.02, 0.01), offset_error=(0.5, 0.1))),
    ],
)
def test_slopes_with_respect_to_the_circuit_are_those_of_its_mean_response(name, numbers):
    # Weighted averages over many inputs have no steps: their finite difference is what the slope must be.
    x = jnp.linspace(-0.93, 0.93, 40_001)[:, None]
    weights = jnp.concatenate([x, jnp.cos(4 * x), jnp.sin(6 * x) + 0.5, 1 + x**2], axis=1) / x.size

    def response(values):
        adc = REAL[name].replace(bits=8, **values)
        return (weights * adc.convert(x, 1.0, adc.fabricate(jax.random.key(3), 4))).sum(0)

    respond, values = jax.jit(response), {number: jnp.float32(value) for number, (value, _) in numbers.items()}
    slope = jax.jit(jax.jacfwd(response))(values)
    for number, (value, step) in numbers.items():
        up, down = (respond(values | {number: jnp.float32(now)}) for now in (value + step, value - step))
        difference = (up - down) / (2 * step)
        assert float(jnp.abs(difference).max()) > 0
        np.testing.assert_allclose(slope[number], difference, rtol=0.05, atol=0.05 * float(jnp.abs(difference).max()))


def test_training_through_a_circuit_reaches_its_input():
    # d/dw of (convert(w x) - target)^2 is 2 (convert(w x) - target) x.
    x, w, target = jnp.array([0.3, -0.4]), 0.9, jnp.array([0.1, 0.2])
    adc = REAL["pipeline"]
    state = adc.fabricate(jax.random.key(3), 2)
    loss = lambda w: ((adc.convert(w * x, 1.0, state) - target) ** 2).sum()  # noqa: E731
    expected = (2 * (adc.convert(w * x, 1.0, state) - target) * x).sum()
    assert float(jax.grad(loss)(w)) == pytest.approx(float(expected), rel=1e-6)
