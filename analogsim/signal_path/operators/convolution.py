"""Convolutions: the window and the channels of a patch are the matrix's rows, the output channels its columns.

Images are not unfolded into patches. Rounding an image to codes also rounds its patches, so a tile that holds the full
window of some channels, with rows ordered (window, channel), computes a convolution of those channels; tiles along the
inputs divide the channels. Patches are cut out only if the window of a single channel exceeds the rows of a tile, or if
random numbers are drawn for every vector and row (noise of cells, detectors, DACs).

A transposed convolution is a convolution of an input with zeros between its values (``input_dilation``); zeros do not
drive rows. Grouped convolutions are several matrices (``stack``).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators.operator import Operator, matmul
from analogsim.signal_path.operators.stack import Stack, block_diagonal, bundle, members
from analogsim.signal_path.tiling import cut_inputs


@dataclasses.dataclass(frozen=True)
class Convolution:
    """``lax.conv_general_dilated`` with channels last and kernel ``[*window, n_channels, n_out]``.

    Attributes:
      strides, padding, input_dilation, kernel_dilation, dimension_numbers: as in ``lax``.
      window: size of the window in every dimension.
      channels: number of input channels.
      block: channels per tile along the inputs; None if a tile cannot hold the window of one channel.
    """

    strides: tuple[int, ...]
    padding: Any
    input_dilation: tuple[int, ...] | None
    kernel_dilation: tuple[int, ...] | None
    dimension_numbers: Any
    window: tuple[int, ...]
    channels: int
    block: int | None = None

    @property
    def tile_rows(self) -> int | None:
        return None if self.block is None else self.block * math.prod(self.window)

    def inputs(self, x):
        return x

    def matrix(self, kernel):
        if self.block is None or self.block >= self.channels:
            return kernel.reshape(-1, kernel.shape[-1])
        of_tiles = self._blocks(kernel, -2)  # [R, *window, block, n_out]
        return of_tiles.reshape(-1, kernel.shape[-1])

    def parts(self, x, r, unfold=False):
        if unfold or math.prod(self.window) == 1 or (self.block is None and r > 1):
            return self._ordered_patches(x, r)
        return x[None] if r == 1 else self._blocks(x, -1)

    def product(self, part, tile, precision):
        c, rows, columns = tile.shape
        if part.shape[-1] == rows:  # unfolded: an image would have fewer channels than a patch has entries
            return matmul(part, tile, precision)
        kernel = tile.transpose(1, 0, 2).reshape(*self.window, part.shape[-1], c * columns)
        y = self.digital(part, kernel, precision)
        return y.reshape(*y.shape[:-1], c, columns)

    def rows_in_use(self) -> list[np.ndarray]:
        """Return the rows that hold weights, per tile along the inputs; the last tile may have unused channels."""
        assert self.block is not None
        wide = min(self.block, self.channels)
        starts = wide * np.arange(math.prod(self.window))[:, None]
        held = [min(self.block, self.channels - first) for first in range(0, self.channels, self.block)]
        return [(starts + np.arange(n)).ravel() for n in held]

    def _blocks(self, a: jax.Array, axis: int) -> jax.Array:
        """Channels along ``axis`` cut into blocks, stacked along a new leading axis; zeros fill the last one."""
        assert self.block is not None
        axis %= a.ndim
        r = -(-self.channels // self.block)
        padded = jnp.pad(a, [(0, r * self.block - self.channels if d == axis else 0) for d in range(a.ndim)])
        return jnp.moveaxis(padded.reshape(*a.shape[:axis], r, self.block, *a.shape[axis + 1 :]), axis, 0)

    def _ordered_patches(self, x: jax.Array, r: int) -> jax.Array:
        """``[R, batch, *positions, rows]`` with the rows in the matrix's order."""
        patches = self._patches(x)
        if self.block is None or r == 1:
            return cut_inputs(patches, r)
        of_tiles = self._blocks(patches.reshape(*patches.shape[:-1], -1, self.channels), -1)
        return of_tiles.reshape(*of_tiles.shape[:-2], -1)

    def _patches(self, x: jax.Array) -> jax.Array:
        """``[batch, *positions, n_in]``, window first, then channel."""
        if math.prod(self.window) == 1:
            return self._strided(x)
        # JAX cuts patches by convolving with the identity, which a lower precision would round on GPUs and TPUs.
        patches = lax.conv_general_dilated_patches(
            x, self.window, self.strides, self.padding, self.input_dilation, self.kernel_dilation,
            dimension_numbers=self.dimension_numbers, precision=lax.Precision.HIGHEST,
        )  # fmt: skip
        shape = patches.shape[:-1]
        # JAX orders a patch (channel, window), the kernel's rows are ordered (window, channel).
        return patches.reshape(*shape, self.channels, -1).swapaxes(-1, -2).reshape(*shape, -1)

    def _strided(self, x: jax.Array) -> jax.Array:
        """Patches of a window of one: the image itself, dilated, padded and strided."""
        n = len(self.window)
        gaps = [d - 1 for d in self.input_dilation or (1,) * n]
        sizes = [size + (size - 1) * gap for size, gap in zip(x.shape[1:-1], gaps, strict=True)]
        pads = self.padding
        if isinstance(pads, str):
            pads = lax.padtype_to_pads(sizes, self.window, self.strides, pads)
        edges = [(lo, hi, gap) for (lo, hi), gap in zip(pads, gaps, strict=True)]
        padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
        return padded[(slice(None), *(slice(None, None, s) for s in self.strides))]

    def outputs(self, y):
        return y

    def example_axes(self, x):
        return tuple(range(1, x.ndim))

    def vectors(self, x):
        # With one output channel, the size of the output is the number of windows.
        kernel = jax.ShapeDtypeStruct((*self.window, self.channels, 1), x.dtype)
        return math.prod(jax.eval_shape(lambda a, k: self.digital(a, k, None), x, kernel).shape)

    @property
    def is_spread(self) -> bool:
        """Whether zeros are put between the inputs."""
        return max(self.input_dilation or (1,)) > 1

    def meetings(self, x: jax.Array) -> int:
        """Count the pairs of window elements and image inputs, without zeros between or around the inputs."""
        n = len(self.window)
        dilation, spread = self.kernel_dilation or (1,) * n, self.input_dilation or (1,) * n
        sizes = [(size - 1) * d + 1 for size, d in zip(x.shape[1:-1], spread, strict=True)]
        reach = [(w - 1) * d + 1 for w, d in zip(self.window, dilation, strict=True)]
        count = x.shape[0]
        for axis in range(n):
            before, after = self.padding[axis]  # never by name where inputs are spread
            outputs = np.arange((sizes[axis] + before + after - reach[axis]) // self.strides[axis] + 1)
            met = outputs[:, None] * self.strides[axis] + np.arange(self.window[axis]) * dilation[axis] - before
            count *= int(np.sum((met >= 0) & (met < sizes[axis]) & (met % spread[axis] == 0)))
        return count

    def digital(self, x, kernel, precision, groups=1):
        return lax.conv_general_dilated(
            x, kernel, self.strides, self.padding, self.input_dilation, self.kernel_dilation,
            dimension_numbers=self.dimension_numbers, feature_group_count=groups, precision=precision,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class GroupedConvolution:
    """A convolution in groups: each group of output channels sees its own group of input channels.

    Attributes:
      one: the convolution of one member of the stack.
      members: groups that each member holds.
      channels, features: input and output channels of one group.
    """

    one: Convolution
    members: tuple[int, ...]
    channels: int
    features: int

    @property
    def tile_rows(self) -> int | None:
        return self.one.tile_rows

    @property
    def _groups(self) -> int:
        return sum(self.members)

    def inputs(self, x):
        of_groups = bundle(x.reshape(*x.shape[:-1], self._groups, self.channels), self.members, x.ndim - 1)
        return jnp.moveaxis(of_groups.reshape(*of_groups.shape[:-2], -1), -2, 0)

    def matrix(self, kernel):
        of_groups = bundle(
            kernel.reshape(*kernel.shape[:-1], self._groups, self.features), self.members, kernel.ndim - 1
        )
        blocks = jnp.moveaxis(of_groups, (-3, -2), (0, 1))  # [S, p, *window, channels, features]
        return jax.vmap(self.one.matrix)(block_diagonal(blocks))

    def member(self, groups):
        if groups == self.members[0]:
            return self.one
        channels = groups * self.channels  # several groups share one tile, which fewer need not be cut for
        return dataclasses.replace(self.one, channels=channels, block=channels)

    def unpadded(self, groups, x, matrix):
        if groups == self.members[0]:
            return x, matrix
        channels, features = groups * self.channels, groups * self.features
        by_channel = matrix.reshape(-1, self.one.channels, matrix.shape[-1])  # rows are ordered (window, channel)
        return x[..., :channels], by_channel[:, :channels, :features].reshape(-1, features)

    def outputs(self, y):
        return jnp.moveaxis(y, 0, -2).reshape(*y.shape[1:-1], -1)[..., : self._groups * self.features]

    def digital(self, x, kernel, precision):
        return self.one.digital(x, kernel, precision, groups=self._groups)


def convolution(
    kernel_shape: tuple[int, ...],
    strides: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    dimension_numbers: Any,
    groups: int,
    hardware: TileHardware,
) -> Operator | Stack:
    """Return the operator of a call to ``lax.conv_general_dilated`` with channels last.

    Args:
      kernel_shape: ``[*window, channels, features]``, with the channels of one group.
      strides, padding, input_dilation, kernel_dilation, dimension_numbers: as of ``lax.conv_general_dilated``.
      groups: its ``feature_group_count``.
      hardware: the hardware of the kernel.
    """
    *window, channels, features = kernel_shape
    operator = Convolution(
        strides=tuple(strides),
        padding=padding if isinstance(padding, str) else tuple(map(tuple, padding)),
        input_dilation=None if input_dilation is None else tuple(input_dilation),
        kernel_dilation=None if kernel_dilation is None else tuple(kernel_dilation),
        dimension_numbers=dimension_numbers,
        window=tuple(window),
        channels=channels,
    )
    if groups == 1:
        return dataclasses.replace(operator, block=_block(operator, hardware))
    groups_per_member = members(groups, math.prod(window) * channels, features // groups, hardware)
    member_operator = dataclasses.replace(operator, channels=groups_per_member[0] * channels)
    return GroupedConvolution(
        dataclasses.replace(member_operator, block=_block(member_operator, hardware)),
        groups_per_member,
        channels,
        features // groups,
    )


def with_channels(of: Convolution | GroupedConvolution, times: int, hardware: TileHardware) -> Operator | Stack:
    """Return the same convolution with ``times`` as many channels and features."""
    if isinstance(of, GroupedConvolution):
        widened = dataclasses.replace(of.one, channels=times * of.channels)
        shape = (*widened.window, widened.channels, times * of.features * sum(of.members))
    else:
        widened = dataclasses.replace(of, channels=times * of.channels)
        shape = (*widened.window, widened.channels, 1)
    groups = sum(of.members) if isinstance(of, GroupedConvolution) else 1
    return convolution(
        shape,
        widened.strides,
        widened.padding,
        widened.input_dilation,
        widened.kernel_dilation,
        widened.dimension_numbers,
        groups,
        hardware,
    )


def _block(of: Convolution, hardware: TileHardware) -> int | None:
    """Channels for each tile along the inputs, as even as can be; None where not even one fits."""
    fit = hardware.rows // math.prod(of.window)
    return None if fit == 0 else -(-of.channels // -(-of.channels // fit))


def transposed(
    x: jax.Array,
    kernel: jax.Array,
    convolve: Any,
    *,
    strides: tuple[int, ...],
    padding: Any,
    kernel_dilation: tuple[int, ...],
    transpose_kernel: bool,
) -> jax.Array:
    """Compute Flax's ConvTranspose with ``convolve`` instead of ``lax.conv_general_dilated``.

    Args:
      x: ``[batch, *positions, channels]``.
      kernel: ``[*window, channels, features]``; with ``transpose_kernel`` ``[*window, features, channels]``, and turned
        by 180 degrees before use.
      convolve: called with image, kernel, strides of 1, padding and dilations.
      strides, padding, kernel_dilation, transpose_kernel: as of Flax's layer; padding may be ``"CIRCULAR"``.
    """
    n = len(strides)
    if transpose_kernel:
        kernel = towards_features(kernel)
    effective = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:n], kernel_dilation, strict=True)]
    if isinstance(padding, str):
        mode = "VALID" if padding == "CIRCULAR" else padding
        pads = [_transposed_padding(k, s, mode) for k, s in zip(effective, strides, strict=True)]
    else:
        pads = [tuple(p) for p in padding]
    y = convolve(x, kernel, (1,) * n, tuple(pads), strides, kernel_dilation)
    return _wrapped(y, x, strides, transpose_kernel) if padding == "CIRCULAR" else y


def towards_features(kernel: jax.Array) -> jax.Array:
    """Flip a convolution kernel ``[*window, features, channels]`` to the one that its transpose uses."""
    return jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)


def _transposed_padding(window: int, stride: int, mode: str) -> tuple[int, int]:
    """Padding of the dilated input that makes an output stride times as long (SAME), or as long as all windows reach.

    As ``lax.conv_transpose`` defines it.
    """
    if mode == "SAME":
        total = window + stride - 2
        before = window - 1 if stride > window - 1 else -(-total // 2)
    else:
        total = window + stride - 2 + max(window - stride, 0)
        before = window - 1
    return before, total - before


def _wrapped(y: jax.Array, x: jax.Array, strides: tuple[int, ...], transpose_kernel: bool) -> jax.Array:
    """A full transposed convolution folded back to ``stride`` times the input's size, periodically.

    The output is padded to an integer number of periods, evenly except for one place (in front; behind for a transposed
    kernel), and the periods are added up.
    """
    periods = [size * stride for size, stride in zip(x.shape[1:-1], strides, strict=True)]
    missing = [-(size - period) % (2 * period) for size, period in zip(y.shape[1:-1], periods, strict=True)]
    small, large = [m // 2 for m in missing], [-(-m // 2) for m in missing]
    before, after = (small, large) if transpose_kernel else (large, small)
    y = jnp.pad(y, [(0, 0), *zip(before, after, strict=True), (0, 0)])
    for axis, period in enumerate(periods, start=1):
        y = y.reshape(*y.shape[:axis], -1, period, *y.shape[axis + 1 :]).sum(axis)
    return y


def dimension_numbers(ndim: int) -> lax.ConvDimensionNumbers:
    """Channels last, ``[batch, *positions, channels]``, and kernels ``[*window, channels, features]``."""
    positions = tuple(int(d) for d in np.arange(1, ndim - 1))
    image = (0, ndim - 1, *positions)
    return lax.ConvDimensionNumbers(image, (ndim - 1, ndim - 2, *(d - 1 for d in positions)), image)


def per_dimension(value: Any, n: int) -> tuple[int, ...]:
    """Expand one integer for all dimensions, or None for 1, to an integer per dimension."""
    if value is None or isinstance(value, int):
        return (value or 1,) * n
    return tuple(value)
