"""What emulation costs beside the plain Flax model, in one process: ``pytest -m benchmark -n 0 -s``.

Each figure is the median of repeated calls, the two programs taking turns, so that a busy machine slows both. Printed,
not asserted: a limit on time would test the machine.
"""

import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from analogsim import calibrate, evaluate, preset, program
from analogsim.cli.quickstart import MLP as DigitsMLP
from analogsim.linen import AnalogDense
from analogsim.training import weight_noise

pytestmark = pytest.mark.benchmark


def interleaved_ms(functions, repeats=30):
    """Median milliseconds of every function, called in turn after one call to compile."""
    for function in functions.values():
        jax.block_until_ready(function())
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def report(title, medians, base):
    print(f"\n{title}")
    for name, value in medians.items():
        print(f"  {name:34} {value:8.2f} ms   {value / medians[base]:5.2f} x {base}")


def test_inference():
    """A 1024 x 1024 product of 256 vectors on 512-row tiles: 8-bit converters, read and converter noise."""
    x = jax.random.normal(jax.random.key(0), (256, 1024))
    layer = AnalogDense(1024, hardware=preset("pcm"), use_bias=False)
    variables = calibrate(layer, layer.init(jax.random.key(1), x), x)
    chip = program(layer, variables, jax.random.key(2)).at("1 day")
    noiseless = program(layer, variables, jax.random.key(2)).at("1 day", read_noise=False)
    plain = jax.jit(nn.Dense(1024, use_bias=False).apply)
    run = jax.jit(lambda v, x, key: layer.apply(v, x, rngs={"analog": key}))
    key = jax.random.key(3)
    medians = interleaved_ms(
        {
            "plain Dense": lambda: plain({"params": variables["params"]}, x),
            "chip, converters and their noise": lambda: run(noiseless.variables, x, key),
            "chip, and read noise": lambda: run(chip.variables, x, key),
        }
    )
    report("inference, 1024 x 1024, 256 vectors", medians, "plain Dense")


class Network(nn.Module):
    hardware: object = None

    @nn.compact
    def __call__(self, x):
        for features in (512, 256):
            x = nn.relu(AnalogDense(features, hardware=self.hardware)(x))
        return AnalogDense(10, hardware=self.hardware)(x)


def test_training_step():
    """One step of 784-512-256-10 at batch 128: plain, with weight noise, and on a fresh PCM chip."""
    x, y = jax.random.normal(jax.random.key(0), (128, 784)), jnp.zeros(128, jnp.int32)
    params = Network().init(jax.random.key(1), x)["params"]

    def step(model, noise):
        def loss(params, key):
            params = weight_noise(key, params, noise) if noise else params
            logits = model.apply({"params": params}, x, rngs={"analog": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        return jax.jit(lambda p, key: jax.tree.map(lambda a, g: a - 0.01 * g, p, jax.grad(loss)(p, key)))

    plain, noisy, analog = step(Network(), 0.0), step(Network(), 0.05), step(Network(preset("pcm")), 0.0)
    key = jax.random.key(2)
    medians = interleaved_ms(
        {
            "plain step": lambda: plain(params, key),
            "step with weight noise": lambda: noisy(params, key),
            "step on a fresh PCM chip": lambda: analog(params, key),
        }
    )
    report("training step, 784-512-256-10, batch 128", medians, "plain step")


def test_chips():
    """100 chips x 6 times of the digits network on 450 images, beside 600 plain forward passes."""
    x = jax.random.normal(jax.random.key(0), (450, 64))
    model = DigitsMLP(preset("pcm"))
    variables = calibrate(model, model.init(jax.random.key(1), x), x)
    labels = jnp.zeros(450, jnp.int32)
    plain = jax.jit(lambda v, x: jax.lax.map(lambda i: DigitsMLP(None).apply(v, x + 1e-3 * i).sum(), jnp.arange(600)))
    medians = interleaved_ms(
        {
            "600 plain forward passes": lambda: plain({"params": variables["params"]}, x),
            "600 readings of 100 chips": lambda: evaluate(model, variables, x, labels, key=jax.random.key(0), chips=100)
            .score.values.sum(),
        },
        repeats=5,
    )  # fmt: skip
    report("sampled chips, 64-64-10, 450 images", medians, "600 plain forward passes")
