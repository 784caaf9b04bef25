"""Small plain Flax networks, for recipes and benchmarks.

mlp           784-256-128-10 of the in-memory computing literature; the input is flattened
lenet         two convolutions of 5 x 5 with pooling and two dense layers, with tanh, as in aihwkit's example
gru           a gated recurrent layer over a series; its last state is classified
transformer   an encoder of two blocks over the steps of a series or the rows of an image
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from analogsim.base.errors import InputError, nearest


class MLP(nn.Module):
    """Dense layers with ReLU between them, for inputs ``[n, ...]`` of any shape."""

    classes: int
    hidden: tuple[int, ...] = (256, 128)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(self.classes)(x)


class LeNet(nn.Module):
    """Convolutions with 16 and 32 features, pooled by two, and 128 hidden units; images ``[n, height, width, 1]``."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for features in (16, 32):
            x = nn.max_pool(nn.tanh(nn.Conv(features, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.tanh(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.classes)(x)


class GRU(nn.Module):
    """A layer of gated recurrent units, for series ``[n, steps, channels]``."""

    classes: int
    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        states: Any = nn.RNN(nn.GRUCell(self.features))(_series(x))
        return nn.Dense(self.classes)(states[:, -1])


class Transformer(nn.Module):
    """An encoder with layer normalisation before each block and four heads, for series ``[n, steps, channels]``."""

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
    """Return a series unchanged, and an image as the series of its rows."""
    return jnp.reshape(x, (*x.shape[:2], -1))


#: Functions from the number of classes to a network, by name.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "gru": GRU,
    "transformer": Transformer,
}


def network(name: str, classes: int) -> nn.Module:
    """Return a network by the name in the module's table.

    Args:
      name: ``"mlp"``, ``"lenet"``, ``"gru"`` or ``"transformer"``.
      classes: number of outputs.

    Raises:
      InputError: for an unknown name.

    Example:
      >>> network("mlp", 10).hidden
      (256, 128)
    """
    if name not in NETWORKS:
        raise InputError(f"network {name!r}: must be one of {', '.join(NETWORKS)}; {nearest(str(name), NETWORKS)}")
    return NETWORKS[name](classes)
