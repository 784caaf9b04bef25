"""The row-stationary dataflow of Eyeriss: how often a layer reaches each level of its memory.

A processing element keeps rows of filters and inputs in registers and slides one along the other; R x e elements form a
set that computes e rows of outputs; p filters and q channels take turns in an element, r and t sets work on other
channels and filters; n images and m output channels are worked through before anything leaves the buffer (Chen, Emer
and Sze, ISCA 2016, doi 10.1109/ISCA.2016.40; chip: Chen et al., IEEE J. Solid-State Circuits 52, 127 (2017), doi
10.1109/JSSC.2016.2616357). In words, for N images, C channels and M filters a group, E x F outputs, stride U:

    strips                  s = ceil(E / e),  of h = (e - 1) U + R input rows
    buffer, inputs read     N C s h W ceil(M / (p t))
    buffer, sums written    N M E F ceil(C / (q r)),  and read back one time fewer
    buffer, filters         M C R S s ceil(N / n)
    hops between elements   N M E F ceil(C / (q r)) (R r - 1)
    DRAM                    N C s h W ceil(M / m), less the padding  +  the filters as above  +  N M E F
    registers               4 a multiply-accumulate

Of the mappings that fit the registers, the array and the buffer, the one with the least energy is taken.
"""

import dataclasses
import functools
import math

import numpy as np

from analogsim.energy.work.operations import ConvolutionShape, MatrixProductShape

ROWS, COLUMNS = 12, 14  #: elements of the array
BUFFER_WORDS = 100 * 1024 // 2  #: for inputs and sums; the other 8 kB prefetch filters
FILTER_SPAD, INPUT_SPAD, SUM_SPAD = 224, 12, 24  #: words of an element's registers
REGISTERS_PER_MAC = 4  #: input, weight, sum read, sum written

#: Costs of an access relative to a multiply-accumulate: registers, hop, buffer, DRAM.
COST_REGISTER, COST_HOP, COST_BUFFER, COST_DRAM = 1.0, 2.0, 6.0, 200.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane:
    """One group of a layer as the dataflow sees it; a matrix product is a window of one on images of one pixel."""

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
    """How a layer is laid out, the letters of the paper."""

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accesses:
    """Words that reach each level, and how much of the array works.

    Attributes:
      macs: multiply-accumulates.
      hops: sums passed between neighbouring elements.
      buffer: reads and writes of the buffer.
      dram: reads and writes of the memory outside.
      utilisation: share of the elements that compute.
    """

    macs: float
    hops: float
    buffer: float
    dram: float
    utilisation: float

    @property
    def chip(self) -> float:
        """Energy without DRAM, in multiply-accumulates."""
        return (1 + COST_REGISTER * REGISTERS_PER_MAC) * self.macs + COST_HOP * self.hops + COST_BUFFER * self.buffer


def planes(shape: MatrixProductShape | ConvolutionShape) -> tuple[Plane, int]:
    """One group of a layer, and how many groups there are."""
    if isinstance(shape, MatrixProductShape):
        one = Plane(
            images=shape.vectors,
            channels=shape.n_in,
            filters=shape.n_out,
            pixels=1,
            rows_in=1,
            width_in=1,
            reach=1,
            taps_rows=1,
            taps_width=1,
            stride=1,
            rows_out=1,
            width_out=1,
        )
        return one, shape.count
    one = Plane(
        images=shape.images, channels=shape.channels, filters=shape.filters, pixels=shape.pixels, rows_in=shape.size[0],
        width_in=math.prod(shape.size[1:]), reach=shape.window[0], taps_rows=shape.taps[0],
        taps_width=math.prod(shape.taps[1:]), stride=shape.stride[0], rows_out=shape.outputs[0],
        width_out=math.prod(shape.outputs[1:]),
    )  # fmt: skip
    return one, shape.groups


def accesses(plane: Plane, mapping: DataflowMapping) -> Accesses:
    """Words that one group of a layer moves in a mapping."""
    k = mapping
    found = _count(plane, *(np.array([v]) for v in (k.m, k.n, k.e, k.p, k.q, k.r, k.t)))
    hops, buffer, dram = (float(v[0]) for v in found[:3])
    rows = min(plane.taps_rows, ROWS)
    used = rows * k.e * min(k.r, -(-plane.channels // k.q)) * min(k.t, -(-plane.filters // k.p))
    return Accesses(macs=float(_macs(plane)), hops=hops, buffer=buffer, dram=dram,
                    utilisation=min(1.0, used / (ROWS * COLUMNS)))  # fmt: skip


@functools.lru_cache(maxsize=4096)
def best(plane: Plane) -> DataflowMapping:
    """The mapping of least energy among those that fit."""
    per_column = max(1, ROWS // min(plane.taps_rows, ROWS))
    whole = np.arange(1, plane.rows_out + 1)
    e = np.unique(-(-plane.rows_out // whole))  # a smaller set of as many strips gains nothing
    e = e[e <= max(COLUMNS * per_column, e.min())]
    q = _steps(max(1, min(INPUT_SPAD // plane.taps_width, plane.channels)))
    p = _steps(min(SUM_SPAD, plane.filters))
    r = _steps(min(per_column * COLUMNS, plane.channels))
    block = 2 ** np.arange(max(1, plane.filters.bit_length() + 1))  # m in blocks of the filters in flight
    e, q, p, r, block = (a.ravel() for a in np.meshgrid(e, q, p, r, block, indexing="ij"))
    # Sets side by side, or one set folded over several bands of rows where e exceeds the columns.
    sets = np.where(e <= COLUMNS, per_column * (COLUMNS // np.minimum(e, COLUMNS)), per_column // -(-e // COLUMNS))
    t = np.maximum(np.minimum(sets // r, -(-plane.filters // p)), 0)
    fits = (r <= sets) & (t > 0) & (p * q * plane.taps_width <= max(FILTER_SPAD, plane.taps_width))
    e, q, p, r, block, t = (a[fits] for a in (e, q, p, r, block, t))
    m = np.minimum(block * p * t, plane.filters)
    rows = np.minimum((e - 1) * plane.stride + plane.reach, plane.rows_in)
    # As many images as fit: more of them only read the filters less often.
    n = np.minimum(BUFFER_WORDS // (q * r * rows * plane.width_in + m * e * plane.width_out), plane.images)
    fits = n > 0
    if not fits.any():  # not even one image's strip: rows of it pass by, and nothing is kept
        fits, n = m * e == (m * e).min(), np.ones_like(m)
    e, q, p, r, n, m, t = (a[fits] for a in (e, q, p, r, n, m, t))
    hops, buffer, dram = _count(plane, m, n, e, p, q, r, t)
    i = int(np.argmin(COST_HOP * hops + COST_BUFFER * buffer + COST_DRAM * dram))
    return DataflowMapping(m=int(m[i]), n=int(n[i]), e=int(e[i]), p=int(p[i]), q=int(q[i]), r=int(r[i]), t=int(t[i]))


def _count(plane: Plane, m, n, e, p, q, r, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hops, buffer and DRAM words of a group, for arrays of mappings."""
    strips = -(-plane.rows_out // e)
    rows = np.minimum((e - 1) * plane.stride + plane.reach, plane.rows_in)
    inputs = 1.0 * plane.images * plane.channels * np.maximum(strips * rows, plane.taps_rows) * plane.width_in
    sums = 1.0 * plane.images * plane.filters * plane.rows_out * plane.width_out
    passes = -(-plane.channels // (q * r))
    weights = plane.filters * plane.channels * plane.taps_rows * plane.taps_width
    filters = 1.0 * weights * strips * -(-plane.images // n)
    buffer = inputs * -(-plane.filters // (p * t)) + sums * (2 * passes - 1) + filters
    stored = plane.pixels / (plane.rows_in * plane.width_in)  # no memory holds the padding
    dram = inputs * stored * -(-plane.filters // m) + filters + sums
    return sums * passes * (plane.taps_rows * r - 1), buffer, dram


def _macs(plane: Plane) -> int:
    return (plane.images * plane.filters * plane.channels * plane.rows_out * plane.width_out
            * plane.taps_rows * plane.taps_width)  # fmt: skip


def _steps(most: int) -> np.ndarray:
    """Numbers to try up to this one: powers of two, three times those, and itself."""
    twos = 2 ** np.arange(most.bit_length())
    tries = np.concatenate([twos, 3 * twos, [most]])
    return np.unique(tries[tries <= most])
