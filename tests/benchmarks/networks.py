"""Networks and hardware-aware training steps that benchmarks and the limits on program sizes share.

An MLP 784-512-256-10 at batch 128, a ResNet-8 on 64 images of 32 x 32 x 3, a transformer block of 512 features on
8 x 128 tokens. Settings: 5 % additive weight noise drawn every step, 8-bit inputs with a learned range (published
rule), 8-bit outputs with noise, tiles of 512 rows, clipping at 2.5 standard deviations, SGD.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from analogsim import FreshChip, Hardware, LearnedRange, calibrate, convert, preset
from analogsim.training import AdditiveNoise, DeviceNoise, clip_weights


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


class EncoderBlock(nn.Module):
    """A transformer block of any width as a step of ``nn.scan``: ``(x, None) -> (x, None)``."""

    width: int

    @nn.compact
    def __call__(self, x, _):
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(8)(h, h)
        x = x + nn.Dense(self.width)(nn.relu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return x, None


class DenseBlock(nn.Module):
    """A square layer with its activation as a step of ``nn.scan``."""

    width: int

    @nn.compact
    def __call__(self, x, _):
        return x + nn.relu(nn.Dense(self.width)(x)), None


class Stack(nn.Module):
    """Blocks in sequence: one after the other in the program, or one in a loop.

    Attributes:
      block: class of the blocks, ``block(width)``.
      width: features.
      layers: number of blocks.
      scanned: whether ``nn.scan`` runs one block in a loop.
      remat: whether the backward pass computes each block again.
    """

    block: Any
    width: int
    layers: int
    scanned: bool
    remat: bool = False

    @nn.compact
    def __call__(self, x):
        block = nn.remat(self.block, prevent_cse=not self.scanned) if self.remat else self.block
        if self.scanned:
            made = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.layers)
            return made(self.width)(x, None)[0]
        for _ in range(self.layers):
            x, _ = block(self.width)(x, None)
        return x


def cross_entropy(y):
    """Mean cross-entropy with the label 0."""
    return optax.softmax_cross_entropy_with_integer_labels(y, jnp.zeros(len(y), jnp.int32)).mean()


def mean_square(y):
    """Mean of the squares."""
    return (y**2).mean()


#: Network, shape of its input, loss of its output, and calls of a step that are enough for a steady median.
NETWORKS = {
    "mlp": (MLP(), (128, 784), cross_entropy, 30),
    "cnn": (ResNet8(), (64, 32, 32, 3), cross_entropy, 8),
    "transformer": (Block(), (8, 128, 512), mean_square, 8),
}

_LEARNED = {"input_range": LearnedRange()}

#: How a step sees the hardware, by the name in tables.
HARDWARE: dict[str, Callable[[], Hardware]] = {
    "weight noise": lambda: preset("pcm", training=AdditiveNoise(std=0.05), **_LEARNED, **{"adc.range": 12.0}),
    "weight noise, no ADC, one tile": lambda: preset(
        "pcm", training=AdditiveNoise(std=0.05), **_LEARNED, adc=None, rows=4096, columns=4096
    ),
    "device noise": lambda: preset("pcm", training=DeviceNoise(time_s="1 h"), **_LEARNED),
    "fresh chip": lambda: preset("pcm", training=FreshChip(time_s="1 h"), **_LEARNED),
}


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step and its arguments.

    Attributes:
      model: the plain network, or the converted one.
      function: ``function(variables, optimiser_state, x, key) -> (variables, optimiser_state)``, compiled.
      args: arguments of ``function``.
    """

    model: nn.Module
    function: Callable[..., Any]
    args: tuple[Any, ...]

    def __call__(self) -> Any:
        """Run the step from the same start."""
        return self.function(*self.args)


def step_of(
    plain: nn.Module,
    x: jax.Array,
    loss_of: Callable,
    hardware: Hardware | None,
    variables: Any = None,
    calibrated: bool = True,
) -> Step:
    """A compiled training step; ranges are learned where the hardware says so.

    Args:
      plain: a Flax network.
      x: its inputs, an array, or shapes for a step that is compiled only.
      loss_of: loss of the network's output, a number.
      hardware: hardware of its layers; None for the plain step.
      variables: start of the training; None draws it.
      calibrated: whether ranges are chosen from ``x``; not with shapes.
    """
    if variables is None:
        variables = plain.init(jax.random.key(1), x)
    model = plain if hardware is None else convert(plain, hardware)
    tree = calibrate(model, variables, x) if hardware is not None and calibrated else variables
    tx = optax.sgd(0.01) if hardware is None else optax.chain(optax.sgd(0.01), clip_weights(sigmas=2.5))

    def loss(tree, x, key):
        return loss_of(model.apply(tree, x, rngs=None if hardware is None else {"analog": key}))

    def step(tree, state, x, key):
        updates, state = tx.update(jax.grad(loss)(tree, x, key), state, tree)
        return optax.apply_updates(tree, updates), state

    state, key = jax.eval_shape(tx.init, tree) if not calibrated else tx.init(tree), jax.random.key(2)
    return Step(model, jax.jit(step), (tree, state, x, key))
