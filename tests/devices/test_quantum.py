"""Qubits in a model by the same calls as any other store: programs, ages, trains, with padding and zeros."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from analogsim import preset, program
from analogsim.linen import AnalogDense

HARDWARE = preset("quantum-register")
LAYER = AnalogDense(6, hardware=HARDWARE)  # two tiles along the inputs; columns and rows that are padded
X = np.random.default_rng(0).uniform(size=(32, 13)).astype(np.float32)

run = jax.jit(lambda variables, key: LAYER.apply(variables, X, rngs={"analog": key}))


@functools.cache
def variables():
    return jax.jit(LAYER.init)(jax.random.key(1), X)


@functools.cache
def chip():
    return program(LAYER, variables(), jax.random.key(2), X)


def test_a_layer_on_qubits_programs_ages_and_trains():
    exact = X @ np.asarray(variables()["params"]["kernel"])
    errors = []
    for time in ("0 s", "1 us", "10 us", "1 day"):
        outputs = run(chip().at(time).variables, jax.random.key(3))
        assert np.isfinite(outputs).all()
        errors.append(float(np.std(outputs - exact) / np.std(exact)))
    assert errors[1] < 0.2
    assert errors == sorted(errors)
    assert errors[3] > 0.5  # nothing is left

    @jax.jit
    @jax.grad
    def gradient_of(params):
        return jnp.mean(LAYER.apply({"params": params}, X, rngs={"analog": jax.random.key(3)}) ** 2)

    gradient = np.asarray(gradient_of(variables()["params"])["kernel"])
    wanted = 2 / exact.size * X.T @ exact
    assert np.sum(gradient * wanted) / np.linalg.norm(gradient) / np.linalg.norm(wanted) > 0.95


def test_columns_of_zeros_and_half_precision():
    kernel = np.array(variables()["params"]["kernel"])
    kernel[:, 1] = 0
    outputs = np.asarray(run({"params": {**variables()["params"], "kernel": kernel}}, jax.random.key(3)))
    assert np.isfinite(outputs).all()
    assert np.abs(outputs[:, 1]).max() < 1e-6
    half = AnalogDense(6, hardware=HARDWARE, dtype=jnp.bfloat16)
    rough = jax.jit(lambda variables: half.apply(variables, X, rngs={"analog": jax.random.key(3)}))(variables())
    assert rough.dtype == jnp.bfloat16
    assert np.isfinite(np.asarray(rough, np.float32)).all()


def test_the_numbers_are_those_of_one_key():
    first, again, other = (run(chip().variables, jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
