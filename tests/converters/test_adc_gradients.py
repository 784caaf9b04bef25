"""Gradients of the ADCs: straight-through for the input and the range, those of the mean response for the circuit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adc_kinds import IDEAL, REAL, fabricate

from analogsim.converters import quantise


def test_gradients_are_those_of_the_uniform_converter():
    y = np.float32([-5.0, -2.1, -2.0, -1.9, -0.3, 0.0, 0.01, 2.0, 2.01, 7.0, 50.0])[:, None] * np.ones(4, np.float32)

    def gradients(convert):
        return jax.grad(lambda y, bound: convert(y, bound).sum(), argnums=(0, 1))(y, jnp.float32(2.0))

    @jax.jit
    def every_gradient(kinds, key):
        converters = {name: (adc, adc.fabricate(key, 4)) for name, adc in kinds.items()}
        found = {n: gradients(lambda y, r, a=a, s=s: a.convert(y, r, s)) for n, (a, s) in converters.items()}
        return gradients(lambda y, bound: quantise(y, 6, bound)), found

    kinds = {**IDEAL, **{f"real {name}": adc for name, adc in REAL.items()}}
    (expected_y, expected_bound), found = every_gradient(kinds, jax.random.key(3))
    for name, (by_y, by_bound) in found.items():
        np.testing.assert_array_equal(by_y, expected_y, err_msg=name)
        assert float(by_bound) == float(expected_bound) == 4 * (3 - 2), name


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
def test_gradients_with_respect_to_the_circuit_are_those_of_its_mean_response(name, numbers):
    # Weighted averages over many inputs have no steps: their finite difference is what the gradient must be, up to the
    # width of a code: the worst (a pipeline's capacitors) is 5 % off at 8 bits and 1.6 % at 10, whatever the step and
    # the number of inputs.
    x = np.linspace(-0.93, 0.93, 40_001, dtype=np.float32)[:, None]
    weights = np.concatenate([x, np.cos(4 * x), np.sin(6 * x) + 0.5, 1 + x**2], axis=1) / x.size

    def response(values, x, weights, key):
        adc = REAL[name].replace(bits=10, **values)
        return (weights * adc.convert(x, 1.0, adc.fabricate(key, 4))).sum(0)

    given = x, weights, jax.random.key(3)
    respond, values = jax.jit(response), {number: np.float32(value) for number, (value, _) in numbers.items()}
    gradient = jax.jit(jax.jacfwd(response))(values, *given)
    for number, (value, step) in numbers.items():
        up, down = (respond(values | {number: np.float32(now)}, *given) for now in (value + step, value - step))
        difference = (np.asarray(up) - np.asarray(down)) / (2 * step)
        largest = np.abs(difference).max()
        assert largest > 0
        np.testing.assert_allclose(gradient[number], difference, rtol=0.05, atol=0.05 * largest, err_msg=number)


def test_training_through_a_circuit_reaches_its_input():
    # d/dw of (convert(w x) - target)^2 is 2 (convert(w x) - target) x.
    x, target = np.float32([0.3, -0.4]), np.float32([0.1, 0.2])
    adc = REAL["pipeline"]

    def loss(w, state):
        y = adc.convert(w * x, 1.0, state)
        return ((y - target) ** 2).sum(), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(0.9, fabricate(adc, jax.random.key(3), n_columns=2))
    assert float(gradient) == pytest.approx((2 * (np.asarray(y) - target) * x).sum(), rel=1e-6)
