"""Whole networks as users of plain Flax write them: residual networks and Transformer encoders, Linen and NNX.

Nothing here knows of analog hardware, but for the collections that ``nn.scan`` has to pass on. Sizes are tiny; the
structure is that of the large ones.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

ModuleDef = Any

# --- Linen ------------------------------------------------------------------------------------------------------------


class ResNetBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    filters: int
    conv: ModuleDef
    norm: ModuleDef
    act: Callable
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        residual = x
        y = self.conv(self.filters, (3, 3), self.strides)(x)
        y = self.norm()(y)
        y = self.act(y)
        y = self.conv(self.filters, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros_init())(y)
        if residual.shape != y.shape:
            residual = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(residual)
            residual = self.norm(name="norm_proj")(residual)
        return self.act(residual + y)


class BottleneckResNetBlock(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, the last to four times as many channels."""

    filters: int
    conv: ModuleDef
    norm: ModuleDef
    act: Callable
    strides: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x):
        residual = x
        y = self.conv(self.filters, (1, 1))(x)
        y = self.norm()(y)
        y = self.act(y)
        y = self.conv(self.filters, (3, 3), self.strides)(y)
        y = self.norm()(y)
        y = self.act(y)
        y = self.conv(self.filters * 4, (1, 1))(y)
        y = self.norm(scale_init=nn.initializers.zeros_init())(y)
        if residual.shape != y.shape:
            residual = self.conv(self.filters * 4, (1, 1), self.strides, name="conv_proj")(residual)
            residual = self.norm(name="norm_proj")(residual)
        return self.act(residual + y)


class ResNet(nn.Module):
    """The residual network of Flax's ImageNet example."""

    stage_sizes: tuple[int, ...] = (1, 1)
    block_cls: ModuleDef = ResNetBlock
    num_classes: int = 5
    num_filters: int = 4
    dtype: Any = jnp.float32
    act: Callable = nn.relu
    conv: ModuleDef = nn.Conv

    @nn.compact
    def __call__(self, x, train: bool = True):
        conv = functools.partial(self.conv, use_bias=False, dtype=self.dtype)
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype
        )
        x = conv(self.num_filters, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(x)
        x = norm(name="bn_init")(x)
        x = self.act(x)
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for i, block_size in enumerate(self.stage_sizes):
            for j in range(block_size):
                strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                x = self.block_cls(self.num_filters * 2**i, strides=strides, conv=conv, norm=norm, act=self.act)(x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype)(x)
        return jnp.asarray(x, self.dtype)


class EncoderBlock(nn.Module):
    """Attention and a multi-layer perceptron, each normalised beforehand and added to what came in."""

    heads: int
    hidden: int
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, mask, deterministic: bool):
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.MultiHeadDotProductAttention(
            num_heads=self.heads, dtype=self.dtype, dropout_rate=self.dropout, deterministic=deterministic
        )(y, mask=mask)
        x = x + nn.Dropout(self.dropout, deterministic=deterministic)(y)
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(y))
        y = nn.Dropout(self.dropout, deterministic=deterministic)(y)
        y = nn.Dense(x.shape[-1], dtype=self.dtype)(y)
        return x + nn.Dropout(self.dropout, deterministic=deterministic)(y)


class ScannedBlock(EncoderBlock):
    """The same with the carry and outputs that ``nn.scan`` asks for."""

    @nn.compact
    def __call__(self, x, mask, deterministic: bool):
        return super().__call__(x, mask, deterministic), None


class Encoder(nn.Module):
    """A Transformer encoder that classifies sequences of tokens; token 0 is padding.

    ``layers`` says how its blocks are called: one by one, with their activations computed anew for the gradient
    (``"remat"``), or as one that is scanned over stacked parameters.
    """

    vocabulary: int = 11
    length: int = 6
    width: int = 8
    heads: int = 2
    hidden: int = 12
    depth: int = 2
    num_classes: int = 5
    dropout: float = 0.1
    dtype: Any = jnp.float32
    layers: str = "plain"

    @nn.compact
    def __call__(self, ids, train: bool = False):
        mask = nn.make_attention_mask(ids > 0, ids > 0)
        x = nn.Embed(self.vocabulary, self.width, dtype=self.dtype)(ids)
        pos = self.param("pos", nn.initializers.normal(0.02), (1, self.length, self.width))
        x = x + jnp.asarray(pos, self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        sizes = dict(heads=self.heads, hidden=self.hidden, dropout=self.dropout, dtype=self.dtype)
        if self.layers == "scan":
            scanned = nn.scan(
                ScannedBlock,
                variable_axes={"params": 0, "analog": 0, "ranges": 0},
                split_rngs={"params": True, "dropout": True, "analog": True},
                in_axes=(nn.broadcast, nn.broadcast),
                length=self.depth,
            )
            x, _ = scanned(**sizes, name="blocks")(x, mask, not train)
        else:
            block = nn.remat(EncoderBlock, static_argnums=(3,)) if self.layers == "remat" else EncoderBlock
            for i in range(self.depth):
                x = block(**sizes, name=f"block_{i}")(x, mask, not train)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x.mean(axis=1))


# --- NNX --------------------------------------------------------------------------------------------------------------


class NnxResNetBlock(nnx.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, channels: int, filters: int, strides: int = 1, *, dtype: Any = None, rngs: nnx.Rngs):
        conv = functools.partial(nnx.Conv, use_bias=False, dtype=dtype, rngs=rngs)
        norm = functools.partial(nnx.BatchNorm, momentum=0.9, dtype=dtype, rngs=rngs)
        self.conv1 = conv(channels, filters, (3, 3), strides=strides)
        self.norm1 = norm(filters)
        self.conv2 = conv(filters, filters, (3, 3))
        self.norm2 = norm(filters, scale_init=nnx.initializers.zeros_init())
        self.shortcut = (
            nnx.Sequential(conv(channels, filters, (1, 1), strides=strides), norm(filters))
            if strides > 1 or channels != filters
            else None
        )

    def __call__(self, x):
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class NnxResNet(nnx.Module):
    """A residual network whose stages are lists of blocks."""

    def __init__(self, filters: int = 4, num_classes: int = 5, *, dtype: Any = None, rngs: nnx.Rngs):
        self.stem = nnx.Conv(3, filters, (5, 5), strides=2, use_bias=False, dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(filters, momentum=0.9, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            [
                NnxResNetBlock(filters, filters, dtype=dtype, rngs=rngs),
                NnxResNetBlock(filters, 2 * filters, 2, dtype=dtype, rngs=rngs),
            ]
        )
        self.head = nnx.Linear(2 * filters, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(axis=(1, 2)))


class NnxEncoderBlock(nnx.Module):
    """Attention and a multi-layer perceptron, each normalised beforehand and added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, dtype: Any = None, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            heads, width, dropout_rate=dropout, decode=False, dtype=dtype, rngs=rngs
        )
        self.norm2 = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.up = nnx.Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.down = nnx.Linear(hidden, width, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x, mask=None):
        x = x + self.dropout(self.attention(self.norm1(x), mask=mask))
        return x + self.dropout(self.down(self.dropout(nnx.gelu(self.up(self.norm2(x))))))


class NnxEncoder(nnx.Module):
    """A Transformer encoder that classifies sequences of tokens; token 0 is padding."""

    def __init__(
        self,
        vocabulary: int = 11,
        length: int = 6,
        width: int = 8,
        heads: int = 2,
        hidden: int = 12,
        depth: int = 2,
        num_classes: int = 5,
        dropout: float = 0.1,
        *,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.embed = nnx.Embed(vocabulary, width, dtype=dtype, rngs=rngs)
        self.pos = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (1, length, width)))
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.blocks = nnx.List(
            [NnxEncoderBlock(width, heads, hidden, dropout, dtype=dtype, rngs=rngs) for _ in range(depth)]
        )
        self.norm = nnx.LayerNorm(width, dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(width, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, ids):
        mask = nnx.make_attention_mask(ids > 0, ids > 0)
        x = self.embed(ids)
        x = self.dropout(x + jnp.asarray(self.pos[...], x.dtype))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x).mean(axis=1))
