"""What one hardware-aware training step costs beside the plain Flax step, and beside aihwkit-lightning.

    pytest -m benchmark -n 0 -s tests/benchmarks/test_training_speed.py
    ANALOGSIM_PEER_PYTHON=/path/to/python pytest ...        a Python in which torch and aihwkit-lightning are installed

Three networks: an MLP 784-512-256-10 at batch 128, a ResNet-8 on 64 images of 32 x 32 x 3, a transformer block of 512
features on 8 x 128 tokens. Steps take turns, and the peer runs between two rounds of them, so that a busy machine slows
all. Settings: 5 % additive weight noise drawn every step, 8-bit inputs with a learned range (published rule), 8-bit
outputs with noise, tiles of 512 rows, clipping at 2.5 standard deviations, SGD. Printed, not asserted: a limit on time
would test the machine.
"""

import json
import os
import pathlib
import statistics
import subprocess
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from analogsim import FreshChip, LearnedRange, calibrate, convert, preset
from analogsim.training import AdditiveNoise, DeviceNoise, clip_weights

pytestmark = pytest.mark.benchmark


class MLP(nn.Module):
    """784-512-256-10."""

    @nn.compact
    def __call__(self, x):
        for features in (512, 256):
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(10)(x)


class ResNet8(nn.Module):
    """Three residual blocks of two 3 x 3 convolutions."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.GroupNorm(8)(nn.Conv(16, (3, 3))(x)))
        for features, stride in ((16, 1), (32, 2), (64, 2)):
            skip = nn.Conv(features, (1, 1), strides=stride)(x) if stride > 1 else x
            h = nn.relu(nn.GroupNorm(8)(nn.Conv(features, (3, 3), strides=stride)(x)))
            x = nn.relu(nn.GroupNorm(8)(nn.Conv(features, (3, 3))(h)) + skip)
        return nn.Dense(10)(x.mean((1, 2)))


class Block(nn.Module):
    """A transformer block."""

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(8)(h, h)
        return x + nn.Dense(512)(nn.relu(nn.Dense(2048)(nn.LayerNorm()(x))))


def cross_entropy(y):
    return optax.softmax_cross_entropy_with_integer_labels(y, jnp.zeros(len(y), jnp.int32)).mean()


NETWORKS = {
    "mlp": (MLP(), (128, 784), cross_entropy, 30),
    "cnn": (ResNet8(), (64, 32, 32, 3), cross_entropy, 8),
    "transformer": (Block(), (8, 128, 512), lambda y: (y**2).mean(), 8),
}


def step_of(plain, x, loss_of, hardware):
    """A compiled step as a function without arguments; ranges are learned where the hardware says so."""
    variables = plain.init(jax.random.key(1), x)
    model = plain if hardware is None else convert(plain, hardware)
    tree = variables if hardware is None else calibrate(model, variables, x)
    tx = optax.sgd(0.01) if hardware is None else optax.chain(optax.sgd(0.01), clip_weights(sigmas=2.5))

    def loss(tree, x, key):
        return loss_of(model.apply(tree, x, rngs=None if hardware is None else {"analog": key}))

    @jax.jit
    def step(tree, state, x, key):
        updates, state = tx.update(jax.grad(loss)(tree, x, key), state, tree)
        return optax.apply_updates(tree, updates)

    state, key = tx.init(tree), jax.random.key(2)
    return lambda: step(tree, state, x, key)


def round_of(functions, repeats, times):
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(1e3 * (time.perf_counter() - start))


def peer(name, repeats):
    """Milliseconds of aihwkit-lightning's steps; none where it is not installed."""
    python = os.environ.get("ANALOGSIM_PEER_PYTHON")
    if not python:
        return []
    script = pathlib.Path(__file__).with_name("lightning_peer.py")
    done = subprocess.run([python, str(script), name, str(repeats)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NETWORKS)
def test_training_step(name):
    plain, shape, loss_of, repeats = NETWORKS[name]
    x = jax.random.normal(jax.random.key(0), shape)
    learned = {"input_range": LearnedRange()}
    noise = preset("pcm", training=AdditiveNoise(std=0.05), **learned, **{"adc.range": 12.0})
    light = preset("pcm", training=AdditiveNoise(std=0.05), **learned, adc=None, rows=4096, columns=4096)
    functions = {
        "plain Flax": step_of(plain, x, loss_of, None),
        "weight noise, 8-bit converters": step_of(plain, x, loss_of, noise),
        "the same without ADC, one tile": step_of(plain, x, loss_of, light),
        "device noise": step_of(plain, x, loss_of, preset("pcm", training=DeviceNoise(time_s="1 h"), **learned)),
    }
    if name == "mlp":
        functions["fresh chip"] = step_of(plain, x, loss_of, preset("pcm", training=FreshChip(time_s="1 h"), **learned))
    first = {}
    for label, function in functions.items():
        start = time.perf_counter()
        jax.block_until_ready(function())
        first[label] = time.perf_counter() - start
    times = {label: [] for label in functions}
    round_of(functions, repeats, times)
    others = peer(name, repeats)
    round_of(functions, repeats, times)
    medians = {label: statistics.median(values) for label, values in times.items()}
    print(f"\none training step, {name}")
    for label, ms in medians.items():
        print(
            f"  {label:34} {ms:8.2f} ms   {ms / medians['plain Flax']:5.2f} x plain   first call {first[label]:.1f} s"
        )
    if others:
        ms = statistics.median(others)
        ratio = ms / medians["weight noise, 8-bit converters"]
        print(f"  {'aihwkit-lightning':34} {ms:8.2f} ms   {ratio:5.2f} x ours with weight noise")
