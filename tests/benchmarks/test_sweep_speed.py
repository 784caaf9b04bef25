"""A sweep beside a Python loop over the same chips, ages and levels: ``pytest -m benchmark -n 0 -s``. Printed only."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ChipScores, calibrate, convert, override_hardware, preset, program, sweep
from analogsim.training.recipes.networks import MLP

pytestmark = pytest.mark.benchmark

CHIPS, LEVELS = 25, (0.0, 0.5, 1.0, 1.5, 2.0)
TIMES = ("1 s", "10 s", "1 min", "10 min", "1 h", "6 h", "1 day", "1 month", "1 year", "10 years")


def test_sweep_of_an_mlp():
    """25 chips x 10 times x 5 noise levels of 784-512-256-10 on 2,000 images: 1,250 evaluations."""
    x, labels = jax.random.uniform(jax.random.key(0), (2000, 784)), jnp.arange(2000) % 10
    model = MLP(10, hidden=(512, 256))
    variables = model.init(jax.random.key(1), x[:1])
    hardware = preset("pcm")
    variables = calibrate(convert(model, hardware), variables, x[:200])
    over = {"store.cell.programming_noise": list(LEVELS), "time": list(TIMES)}

    started = time.perf_counter()
    found = sweep(ChipScores(model, variables, x, labels), hardware, over=over, chips=CHIPS, key=jax.random.key(2))
    whole_s = time.perf_counter() - started
    loop_s, first_s = _loop(convert(model, hardware), variables, x, labels)
    plain_s = _plain(model, {"params": variables["params"]}, x)
    each_s = found.score.size
    print(f"\nsweep, {each_s} evaluations, compilation included: {whole_s:7.1f} s")
    print(f"Python loop over program, at and a compiled apply:    {loop_s:7.1f} s (first evaluation {first_s:.1f} s)")
    print(f"plain forward passes, as many:                         {plain_s * each_s:7.1f} s")
    assert np.isfinite(found.score).all()


def _loop(analog: nn.Module, variables, x, labels) -> tuple[float, float]:
    """What a user writes without ``sweep``, with one compiled forward pass."""

    @jax.jit
    def accuracy(variables, x, key):
        return jnp.mean(jnp.argmax(analog.apply(variables, x, rngs={"analog": key}), -1) == labels)

    started, first_s = time.perf_counter(), None
    for level in LEVELS:
        with override_hardware(lambda path, own: own.replace(**{"store.cell.programming_noise": level})):  # noqa: B023
            for number in range(CHIPS):
                key = jax.random.fold_in(jax.random.key(2), number)
                chip = program(analog, variables, key)
                for age in TIMES:
                    float(accuracy(chip.at(age).variables, x, jax.random.fold_in(key, 1)))
                    first_s = first_s or time.perf_counter() - started
    return time.perf_counter() - started, first_s


def _plain(model: nn.Module, variables, x) -> float:
    """Seconds of one plain forward pass over all images."""
    apply = jax.jit(model.apply)
    jax.block_until_ready(apply(variables, x))
    started = time.perf_counter()
    for _ in range(50):
        jax.block_until_ready(apply(variables, x))
    return (time.perf_counter() - started) / 50
