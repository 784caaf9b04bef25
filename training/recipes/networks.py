"""Plain Flax networks of the literature, for recipes and benchmarks; nothing in them knows of analog hardware.

mlp           784-256-128-10 of the in-memory computing literature, any input flattened
lenet         two convolutions of 5 x 5 with pooling, two dense layers, tanh, as aihwkit's example has it
gru           one gated recurrent layer over a series, its last state classified
transformer   an encoder of two blocks over the steps of a series or the rows of an image
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from analogsim.base.errors import InputError, nearest


class MLP(nn.Module):
    """Dense layers with ReLU between."""

    classes: int
    hidden: tuple[int, ...] = (256, 128)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(self.classes)(x)


class LeNet(nn.Module):
    """16 and 32 windows of 5 x 5, each pooled by two; 128 hidden units; tanh. Images ``[n, height, width, 1]``."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for features in (16, 32):
            x = nn.max_pool(nn.tanh(nn.Conv(features, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.tanh(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.classes)(x)


class GRU(nn.Module):
    """64 gated recurrent units over a series ``[n, steps, channels]``."""

    classes: int
    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        states: Any = nn.RNN(nn.GRUCell(self.features))(_series(x))
        return nn.Dense(self.classes)(states[:, -1])


class Transformer(nn.Module):
    """Two pre-normalised blocks of 64 features and four heads over a series ``[n, steps, channels]``."""

    classes: int
    features: int = 64
    blocks: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(self.features)(_series(x))
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        for _ in range(self.blocks):
            h = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(h, h)
            h = nn.relu(nn.Dense(2 * self.features)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.features)(h)
        return nn.Dense(self.classes)(nn.LayerNorm()(x).mean(axis=1))


def _series(x: jax.Array) -> jax.Array:
    """Series as they are; the rows of an image one after another."""
    return jnp.reshape(x, (*x.shape[:2], -1))


#: By name, made for a number of classes.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "gru": GRU,
    "transformer": Transformer,
}


def network(name: str, classes: int) -> nn.Module:
    """One of the networks above.

    Example:
      >>> network("mlp", 10).hidden
      (256, 128)
    """
    if name not in NETWORKS:
        raise InputError(f"network {name!r}: must be one of {', '.join(NETWORKS)}; {nearest(str(name), NETWORKS)}")
    return NETWORKS[name](classes)
