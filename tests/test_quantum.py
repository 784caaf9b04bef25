"""Qubits in a model by the same calls as any other store: programs, ages, trains, with padding and zeros."""

import jax
import jax.numpy as jnp
import numpy as np

import analogsim
from analogsim import preset, program
from analogsim.linen import AnalogDense

HARDWARE = preset("quantum-register")
LAYER = AnalogDense(6, hardware=HARDWARE)  # two tiles along the inputs; columns and rows that are padded
X = jax.random.uniform(jax.random.key(0), (32, 13))
VARIABLES = LAYER.init(jax.random.key(1), X)
NOISE = {"analog": jax.random.key(3)}


def test_a_layer_on_qubits_programs_ages_and_trains():
    with analogsim.digital():
        exact = LAYER.apply(VARIABLES, X)
    chip = program(LAYER, VARIABLES, jax.random.key(2), X)
    errors = []
    for time in ("0 s", "1 us", "10 us", "1 day"):
        outputs = LAYER.apply(chip.at(time).variables, X, rngs=NOISE)
        assert np.isfinite(outputs).all()
        errors.append(float(jnp.std(outputs - exact) / jnp.std(exact)))
    assert errors[1] < 0.2
    assert errors == sorted(errors)
    assert errors[3] > 0.5  # nothing is left

    def loss(params):
        return jnp.mean(LAYER.apply({"params": params}, X, rngs=NOISE) ** 2)

    slope = jax.grad(loss)(VARIABLES["params"])["kernel"]
    with analogsim.digital():
        wanted = jax.grad(loss)(VARIABLES["params"])["kernel"]
    assert float(jnp.sum(slope * wanted) / jnp.linalg.norm(slope) / jnp.linalg.norm(wanted)) > 0.95


def test_columns_of_zeros_and_half_precision():
    params = jax.tree.map(lambda p: p.at[..., 1].set(0), VARIABLES["params"])
    outputs = LAYER.apply({"params": params}, X, rngs=NOISE)
    assert np.isfinite(outputs).all()
    assert float(jnp.abs(outputs[:, 1]).max()) < 1e-6
    half = AnalogDense(6, hardware=HARDWARE, dtype=jnp.bfloat16)
    rough = half.apply(VARIABLES, X, rngs=NOISE)
    assert rough.dtype == jnp.bfloat16
    assert np.isfinite(np.asarray(rough, np.float32)).all()


def test_the_numbers_are_those_of_one_key():
    chip = program(LAYER, VARIABLES, jax.random.key(2), X)
    first, again = (LAYER.apply(chip.variables, X, rngs=NOISE) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = LAYER.apply(chip.variables, X, rngs={"analog": jax.random.key(4)})
    assert np.any(first != other)
