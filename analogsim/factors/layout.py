"""Layout of a matrix as the cores of a tensor train, and its cost.

Inputs i and outputs j are written in mixed radix, i = (i_1, ..., i_d) with digits below m_k and j = (j_1, ..., j_d)
with digits below n_k, the first digit varying slowest. The sizes m_k and n_k are the modes. A core joins one digit of
each:

    W[i, j] = G_1[:, i_1, j_1, :] ... G_d[:, i_d, j_d, :]        G_k: [r_(k-1), m_k, n_k, r_k],  r_0 = r_d = 1

A low-rank product A B is a train of two cores with modes (n_in, 1) and (1, n_out), so that all functions of trains
apply to it.

Source: I. V. Oseledets, SIAM J. Sci. Comput. 33, 2295 (2011), doi 10.1137/090752286; for matrices of networks
A. Novikov et al., NIPS 2015, arXiv:1509.06569.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

from analogsim.base.errors import InputError

MOST_CORES = 8


@dataclasses.dataclass(frozen=True)
class CoreLayout:
    """Modes and ranks of a train.

    Attributes:
      modes_in, modes_out: modes of the inputs and of the outputs, one of each per core; their products are the
        matrix's size.
      ranks: between neighbouring cores, one fewer than cores.

    Example:
      >>> train = CoreLayout((4, 8, 8, 4), (4, 8, 8, 4), (8, 8, 8))
      >>> train.params, round(train.macs / train.dense, 2)     # fewer numbers, and yet more arithmetic than 1024 x 1024
      (8448, 1.06)
    """

    modes_in: tuple[int, ...]
    modes_out: tuple[int, ...]
    ranks: tuple[int, ...]

    @classmethod
    def of(cls, cores: Sequence[Any]) -> "CoreLayout":
        """Return the layout of existing cores.

        Raises:
          InputError: unless they are ``[r, m, n, r']`` with equal ranks between neighbours and 1 at the ends.
        """
        shapes = [tuple(core.shape) for core in cores]
        if not shapes or any(len(shape) != 4 for shape in shapes):
            raise InputError(f"cores: shapes {shapes}: must be [r_before, m, n, r_after] each")
        left, right = [shape[0] for shape in shapes], [shape[3] for shape in shapes]
        if left[0] != 1 or right[-1] != 1 or left[1:] != right[:-1]:
            raise InputError(f"cores: shapes {shapes}: ranks must agree between neighbours and be 1 at both ends")
        modes_in, modes_out = tuple(s[1] for s in shapes), tuple(s[2] for s in shapes)
        return cls(modes_in, modes_out, tuple(right[:-1]))

    @property
    def cores(self) -> int:
        """Number of cores."""
        return len(self.modes_in)

    @property
    def n_in(self) -> int:
        """Number of rows of the matrix."""
        return math.prod(self.modes_in)

    @property
    def n_out(self) -> int:
        """Number of columns of the matrix."""
        return math.prod(self.modes_out)

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shapes ``(r_(k-1), m_k, n_k, r_k)`` of the cores."""
        ends = (1, *self.ranks, 1)
        return tuple(zip(ends[:-1], self.modes_in, self.modes_out, ends[1:], strict=True))

    @property
    def params(self) -> int:
        """Number of parameters in all cores."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def dense(self) -> int:
        """Number of entries of the matrix, also the multiply-accumulates of one product with it."""
        return self.n_in * self.n_out

    @property
    def passes(self) -> tuple[int, ...]:
        """Vectors that pass each core per input vector: (prod_{l<k} n_l) (prod_{l>k} m_l)."""
        return tuple(
            math.prod(self.modes_out[:k]) * math.prod(self.modes_in[k + 1 :]) for k in range(self.cores)
        )  # fmt: skip

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input vector, core by core: sum_k passes_k r_(k-1) m_k n_k r_k."""
        return sum(p * math.prod(shape) for p, shape in zip(self.passes, self.shapes, strict=True))

    @property
    def decoding_macs(self) -> int:
        """Multiply-accumulates to form the matrix."""
        ahead = [math.prod(self.modes_in[:k]) * math.prod(self.modes_out[:k]) for k in range(self.cores)]
        return sum(a * math.prod(shape) for a, shape in zip(ahead[1:], self.shapes[1:], strict=True))

    def with_rank(self, rank: int) -> "CoreLayout":
        """Return a layout with the same modes and all ranks equal to ``rank``, capped by ``full_ranks``."""
        return dataclasses.replace(self, ranks=tuple(min(rank, full) for full in self.full_ranks))

    @property
    def full_ranks(self) -> tuple[int, ...]:
        """Ranks sufficient for every matrix of this size."""
        sizes = [m * n for m, n in zip(self.modes_in, self.modes_out, strict=True)]
        return tuple(min(math.prod(sizes[:k]), math.prod(sizes[k:])) for k in range(1, self.cores))

    def by_cores(self, vectors: int) -> bool:
        """Return True if ``vectors`` vectors take no more multiply-accumulates by cores than by the decoded matrix.

        Decoding counts once.
        """
        return vectors * self.macs <= self.decoding_macs + vectors * self.dense

    def __str__(self) -> str:
        pairs = " ".join(f"{m}x{n}" for m, n in zip(self.modes_in, self.modes_out, strict=True))
        return f"{pairs}, rank {' '.join(map(str, self.ranks)) or 'none'}"


def balanced_modes(n_in: int, n_out: int, cores: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return balanced modes: factors of each dimension that are as equal as possible, in descending order.

    "As equal as possible" means the smallest sum. A prime dimension is one mode with ones, so that layers with 10 or 7
    outputs are accepted. If there are modes of 1, the outputs' modes are ordered to minimise the largest core: two
    prime dimensions in two cores are a low-rank product.

    Args:
      n_in, n_out: size of the matrix.
      cores: number of modes of each dimension.

    Returns:
      Modes of the inputs and modes of the outputs, ``cores`` integers each.

    Example:
      >>> balanced_modes(256, 10, 3)
      ((8, 8, 4), (2, 1, 5))
      >>> balanced_modes(67, 7, 2)
      ((67, 1), (1, 7))
    """
    ins, outs = _factors(n_in, cores), _factors(n_out, cores)
    if min(*ins, *outs) > 1:
        return ins, outs
    orders = dict.fromkeys(itertools.permutations(outs))  # unique orders, the descending one first
    return ins, min(orders, key=lambda order: max(m * n for m, n in zip(ins, order, strict=True)))


@functools.lru_cache(maxsize=256)
def _factors(n: int, count: int) -> tuple[int, ...]:
    return min(_factorisations(n, count, n), key=lambda factors: (sum(factors), factors))


def _factorisations(n: int, count: int, largest: int) -> list[tuple[int, ...]]:
    """All factorisations of ``n`` into ``count`` factors in descending order."""
    if count == 1:
        return [(n,)] if n <= largest else []
    factorisations = []
    for first in range(min(n, largest), 0, -1):
        # No further factor exceeds `first`, so first^count must reach n.
        if n % first == 0 and first**count >= n:
            factorisations += [(first, *rest) for rest in _factorisations(n // first, count - 1, first)]
    return factorisations
