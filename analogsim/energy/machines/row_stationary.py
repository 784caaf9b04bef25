"""The row-stationary dataflow of Eyeriss: accesses of a layer to each memory level.

A processing element stores rows of filters and inputs in registers and slides one along the other. R x e elements form
a set that computes e rows of outputs; p filters and q channels take turns in one element; r and t sets work on
different channels and filters; n images and m output channels are processed before anything leaves the buffer (Chen,
Emer and Sze, ISCA 2016, doi 10.1109/ISCA.2016.40; chip: Chen et al., IEEE J. Solid-State Circuits 52, 127 (2017), doi
10.1109/JSSC.2016.2616357). Accesses in words per group, for N images, C channels, M filters, R x S windows, inputs of
width W, E x F outputs and stride U:

    strips                  s = ceil(E / e),  of h = (e - 1) U + R input rows
    buffer, inputs read     N C s h W ceil(M / (p t))
    buffer, sums written    N M E F ceil(C / (q r)),  and read back one time less
    buffer, filters         M C R S s ceil(N / n)
    hops between elements   N M E F ceil(C / (q r)) (R r - 1)
    DRAM                    N C s h W ceil(M / m), less the padding  +  the filters as above  +  N M E F
    registers               4 per multiply-accumulate

Among the mappings that fit the registers, the array and the buffer, ``best`` takes the one of lowest energy.
"""

import dataclasses
import functools
import math

import numpy as np

from analogsim.energy.work.operations import ConvolutionShape, MatrixProductShape

ROWS, COLUMNS = 12, 14  #: elements of the array
BUFFER_WORDS = 100 * 1024 // 2  #: for inputs and sums; the remaining 8 kB prefetch filters
FILTER_SPAD, INPUT_SPAD, SUM_SPAD = 224, 12, 24  #: words in the registers of an element
REGISTERS_PER_MAC = 4  #: input, weight, sum read, sum written

#: Costs of an access relative to a multiply-accumulate: registers, hop, buffer, DRAM.
COST_REGISTER, COST_HOP, COST_BUFFER, COST_DRAM = 1.0, 2.0, 6.0, 200.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane:
    """One group of a layer as the dataflow sees it; a matrix product is a 1 x 1 window on images of one pixel.

    Attributes:
      images, channels, filters: N, C and M of the paper.
      pixels: input pixels per image and channel, without padding.
      rows_in, width_in: padded input; ``width_in`` joins all axes but the first.
      reach: input rows under one window, dilation included.
      taps_rows, taps_width: weights of a window by axis, R and S.
      stride: stride along the rows, U.
      rows_out, width_out: output, E and F.
    """

    images: int
    channels: int
    filters: int
    pixels: int
    rows_in: int
    width_in: int
    reach: int
    taps_rows: int
    taps_width: int
    stride: int
    rows_out: int
    width_out: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataflowMapping:
    """The mapping of a layer on the array, in the letters of the paper (see the docstring of the module)."""

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accesses:
    """Accesses in words to each memory level, and the utilisation of the array.

    Attributes:
      macs: multiply-accumulates.
      hops: sums passed between neighbouring elements.
      buffer: reads and writes of the buffer.
      dram: reads and writes of the external memory.
      utilisation: fraction of the elements that compute.
    """

    macs: float
    hops: float
    buffer: float
    dram: float
    utilisation: float

    @property
    def chip(self) -> float:
        """Energy without DRAM, in units of one multiply-accumulate."""
        return (1 + COST_REGISTER * REGISTERS_PER_MAC) * self.macs + COST_HOP * self.hops + COST_BUFFER * self.buffer


def planes(shape: MatrixProductShape | ConvolutionShape) -> tuple[Plane, int]:
    """Return one group of a layer, and the number of groups."""
    if isinstance(shape, MatrixProductShape):
        plane = Plane(
            images=shape.vectors, channels=shape.n_in, filters=shape.n_out, pixels=1, rows_in=1, width_in=1, reach=1,
            taps_rows=1, taps_width=1, stride=1, rows_out=1, width_out=1,
        )  # fmt: skip
        return plane, shape.count
    plane = Plane(
        images=shape.images, channels=shape.channels, filters=shape.filters, pixels=shape.pixels, rows_in=shape.size[0],
        width_in=math.prod(shape.size[1:]), reach=shape.window[0], taps_rows=shape.taps[0],
        taps_width=math.prod(shape.taps[1:]), stride=shape.stride[0], rows_out=shape.outputs[0],
        width_out=math.prod(shape.outputs[1:]),
    )  # fmt: skip
    return plane, shape.groups


def accesses(plane: Plane, mapping: DataflowMapping) -> Accesses:
    """Return the accesses of one group of a layer in a mapping."""
    k = mapping
    words = _count(plane, *(np.array([v]) for v in (k.m, k.n, k.e, k.p, k.q, k.r, k.t)))
    hops, buffer, dram = (float(v[0]) for v in words)
    rows = min(plane.taps_rows, ROWS)
    used = rows * k.e * min(k.r, -(-plane.channels // k.q)) * min(k.t, -(-plane.filters // k.p))
    return Accesses(
        macs=float(_macs(plane)), hops=hops, buffer=buffer, dram=dram, utilisation=min(1.0, used / (ROWS * COLUMNS))
    )


@functools.lru_cache(maxsize=4096)
def best(plane: Plane) -> DataflowMapping:
    """Return the mapping of lowest energy among those that fit.

    Example:
      >>> plane, groups = planes(MatrixProductShape(vectors=1, n_in=64, n_out=10, count=1))
      >>> accesses(plane, best(plane)).dram     # inputs, weights and outputs once
      714.0
    """
    per_column = max(1, ROWS // min(plane.taps_rows, ROWS))
    strips = np.arange(1, plane.rows_out + 1)
    e = np.unique(-(-plane.rows_out // strips))  # the smallest e per number of strips; a larger one gains nothing
    e = e[e <= max(COLUMNS * per_column, e.min())]
    q = _steps(max(1, min(INPUT_SPAD // plane.taps_width, plane.channels)))
    p = _steps(min(SUM_SPAD, plane.filters))
    r = _steps(min(per_column * COLUMNS, plane.channels))
    block = 2 ** np.arange(max(1, plane.filters.bit_length() + 1))  # m in units of the p t filters in flight
    e, q, p, r, block = (a.ravel() for a in np.meshgrid(e, q, p, r, block, indexing="ij"))
    # Sets next to each other, or one set folded over several bands of rows if e exceeds the columns.
    sets = np.where(e <= COLUMNS, per_column * (COLUMNS // np.minimum(e, COLUMNS)), per_column // -(-e // COLUMNS))
    t = np.maximum(np.minimum(sets // r, -(-plane.filters // p)), 0)
    fits = (r <= sets) & (t > 0) & (p * q * plane.taps_width <= max(FILTER_SPAD, plane.taps_width))
    e, q, p, r, block, t = (a[fits] for a in (e, q, p, r, block, t))
    m = np.minimum(block * p * t, plane.filters)
    rows = np.minimum((e - 1) * plane.stride + plane.reach, plane.rows_in)
    # The largest number of images that fits, since more images only reduce reads of filters.
    n = np.minimum(BUFFER_WORDS // (q * r * rows * plane.width_in + m * e * plane.width_out), plane.images)
    fits = n > 0
    if not fits.any():  # not even a strip of one image fits: stream its rows without reuse in the buffer
        fits, n = m * e == (m * e).min(), np.ones_like(m)
    e, q, p, r, n, m, t = (a[fits] for a in (e, q, p, r, n, m, t))
    hops, buffer, dram = _count(plane, m, n, e, p, q, r, t)
    i = int(np.argmin(COST_HOP * hops + COST_BUFFER * buffer + COST_DRAM * dram))
    return DataflowMapping(m=int(m[i]), n=int(n[i]), e=int(e[i]), p=int(p[i]), q=int(q[i]), r=int(r[i]), t=int(t[i]))


def _count(plane: Plane, m, n, e, p, q, r, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hops, buffer accesses and DRAM accesses of a group in words, for arrays of mappings."""
    strips = -(-plane.rows_out // e)
    rows = np.minimum((e - 1) * plane.stride + plane.reach, plane.rows_in)
    # In floating point: products of NumPy's int64 arrays wrap around without an error.
    inputs = 1.0 * plane.images * plane.channels * np.maximum(strips * rows, plane.taps_rows) * plane.width_in
    sums = 1.0 * plane.images * plane.filters * plane.rows_out * plane.width_out
    passes = -(-plane.channels // (q * r))
    weights = plane.filters * plane.channels * plane.taps_rows * plane.taps_width
    filters = 1.0 * weights * strips * -(-plane.images // n)
    buffer = inputs * -(-plane.filters // (p * t)) + sums * (2 * passes - 1) + filters
    stored = plane.pixels / (plane.rows_in * plane.width_in)  # the padding is not stored
    dram = inputs * stored * -(-plane.filters // m) + filters + sums
    return sums * passes * (plane.taps_rows * r - 1), buffer, dram


def _macs(plane: Plane) -> int:
    return (plane.images * plane.filters * plane.channels * plane.rows_out * plane.width_out
            * plane.taps_rows * plane.taps_width)  # fmt: skip


def _steps(most: int) -> np.ndarray:
    """Return the numbers to try up to a maximum: powers of two, three times those, and the maximum itself."""
    twos = 2 ** np.arange(most.bit_length())
    tries = np.concatenate([twos, 3 * twos, [most]])
    return np.unique(tries[tries <= most])
