"""Low-rank factors beside frozen analog weights: digital, trainable on a chip, and out of the chip's way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from analogsim import calibrate, convert, preset, program, summary, to_digital
from analogsim.nnx import on_chip

PCM = preset("pcm", **{"store.cell.programming_noise": 4.0})
X = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)


def wrapped(rngs):
    return nnx.LoRA(12, 3, 5, base_module=nnx.Linear(12, 5, rngs=rngs), rngs=rngs)


def inherited(rngs):
    return nnx.LoRALinear(12, 5, lora_rank=3, rngs=rngs)


@pytest.mark.parametrize("make", [wrapped, inherited])
def test_factors_are_trained_on_a_chip_whose_weights_stay(make):
    plain = nnx.jit(make)(nnx.Rngs(0))
    exact = nnx.jit(lambda model: model(X))(plain)
    analog = convert(plain, PCM, x=X)  # the factors' products are no strays
    calibrate(analog, None, X)
    rows = summary(analog, x=X)
    assert len(rows) == 1
    assert not rows.digital
    chip = on_chip(analog, program(analog, key=jax.random.key(1)), key=jax.random.key(2))
    held = jax.tree.map(np.asarray, nnx.state(chip, nnx.Not(nnx.Any(nnx.LoRAParam, nnx.RngState))))
    optimizer = nnx.Optimizer(chip, optax.adam(0.03), wrt=nnx.LoRAParam)

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            return jnp.mean((model(X) - exact) ** 2)

        value, gradients = nnx.value_and_grad(loss, argnums=nnx.DiffState(0, nnx.LoRAParam))(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(step(chip, optimizer)) for _ in range(80)]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    after = nnx.state(chip, nnx.Not(nnx.Any(nnx.LoRAParam, nnx.RngState)))
    jax.tree.map(np.testing.assert_array_equal, held, after)
    back = to_digital(chip)
    assert type(back) is type(plain)
    factors = nnx.state(chip, nnx.LoRAParam)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(back, nnx.LoRAParam), factors)
