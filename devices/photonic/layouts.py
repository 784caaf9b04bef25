"""Layout of a mesh's cells and order of the decomposition, computed once per size.

    rectangular    N(N-1)/2 cells in N columns, all paths of equal depth: Clements et al., Optica 3, 1460 (2016),
                   doi 10.1364/OPTICA.3.001460
    butterfly      N log2(N)/2 cells in log2(N) columns, column c couples modes m and m + 2^c: fewer phases than a
                   unitary matrix has, so that it represents only some of them; its waveguides cross
    triangular     N(N-1)/2 cells in 2N - 3 columns, calibrated port by port, paths of unequal depth:
                   Reck et al., Phys. Rev. Lett. 73, 58 (1994), doi 10.1103/PhysRevLett.73.58

Except for the butterfly, a cell on modes (m, m + 1) is in a column of the parity of m. Cells of a column act on
disjoint modes.
"""

import functools
from typing import NamedTuple

import numpy as np

from analogsim.base.errors import InputError

UNIVERSAL = ("rectangular", "triangular")
TOPOLOGIES = (*UNIVERSAL, "butterfly")


class MeshLayout(NamedTuple):
    """Layout of a mesh of one size.

    Attributes:
      n: number of modes.
      columns: number of columns.
      order: modes of every column, pair by pair, unpaired ones last, ``[columns, n]``.
      occupied: whether a pair has a cell, ``[columns, n // 2]``; other pairs pass straight.
      from_right: whether each nulling, in order, acts on columns of the matrix (else on its rows), ``[cells]``.
      mode: the upper mode of each nulling, ``[cells]``.
      line: the row (from the right) or column (from the left) whose element is nulled, ``[cells]``.
      column: the mesh column of each nulling's cell, ``[cells]``.
      slot: the pair within that column, ``mode // 2``, ``[cells]``.
    """

    n: int
    columns: int
    order: np.ndarray
    occupied: np.ndarray
    from_right: np.ndarray
    mode: np.ndarray
    line: np.ndarray
    column: np.ndarray
    slot: np.ndarray

    @property
    def upper(self) -> np.ndarray:
        """Upper mode of every pair, which carries its phases, ``[columns, n // 2]``."""
        return self.order[:, 0 : 2 * (self.n // 2) : 2]


# Indices are int32 in single and in double precision: a compiled function keeps what jax makes of an array of int64,
# int32 or int64 as enable_x64 says at that time, and layouts outlive it (jax 0.10: TypeError in the other precision).
_INDEX = np.int32


@functools.cache
def layout(n: int, topology: str = "rectangular") -> MeshLayout:
    """Return the layout of a mesh of ``n`` modes; a mesh of one mode has no cells.

    Raises:
      InputError: if ``n`` is below 1, the topology is unknown, or a butterfly's ``n`` is not a power of two.

    Example:
      >>> layout(5).columns, layout(5, "triangular").columns, len(layout(5).mode)
      (5, 7, 10)
    """
    if n < 1:
        raise InputError(f"n = {n}: must be at least 1 (modes of a mesh)")
    if topology not in TOPOLOGIES:
        raise InputError(f"topology = {topology!r}: must be one of {', '.join(TOPOLOGIES)}")
    none = np.zeros(0, _INDEX)
    if topology == "butterfly":
        pairs = _butterfly(n)
        occupied = np.ones((len(pairs), n // 2), bool)
        return MeshLayout(n, len(pairs), pairs, occupied, none.astype(bool), none, none, none, none)
    steps = _clements(n) if topology == "rectangular" else _reck(n)
    if not steps:
        return MeshLayout(
            n, 0, np.zeros((0, n), _INDEX), np.zeros((0, 0), bool), none.astype(bool), none, none, none, none
        )
    right, mode, line = (np.array(values, _INDEX) for values in zip(*steps, strict=True))
    # Light first meets the cells that act on the matrix' columns, then those on its rows in reverse order.
    lit = [i for i in range(len(steps)) if right[i]] + [i for i in reversed(range(len(steps))) if not right[i]]
    free = np.zeros(n, _INDEX)
    column = np.zeros(len(steps), _INDEX)
    for i in lit:
        m = mode[i]
        at = max(free[m], free[m + 1])
        at += (at - m) % 2
        column[i] = at
        free[m : m + 2] = at + 1
    if column.min() > 0:
        column -= column.min() - column.min() % 2
    columns = int(column.max()) + 1
    occupied = np.zeros((columns, n // 2), bool)
    occupied[column, mode // 2] = True
    order = np.stack([np.roll(np.arange(n, dtype=_INDEX), -(c % 2)) for c in range(columns)])
    return MeshLayout(n, columns, order, occupied, right.astype(bool), mode, line, column, mode // 2)


def _butterfly(n: int) -> np.ndarray:
    stages = n.bit_length() - 1
    if n != 2**stages:
        raise InputError(f"n = {n}: must be a power of two for a butterfly")
    modes = np.arange(n)
    order = [[m + k * 2**c for m in modes if not m & 2**c for k in (0, 1)] for c in range(stages)]
    return np.array(order, _INDEX).reshape(stages, n)


def _clements(n: int) -> list[tuple[bool, int, int]]:
    """Nullings ``(from_right, mode, line)`` along antidiagonals, alternately from the right and from the left."""
    steps = []
    for i in range(1, n):
        if i % 2:
            steps += [(True, i - 1 - j, n - 1 - j) for j in range(i)]
        else:
            steps += [(False, n + j - i - 2, j - 1) for j in range(1, i + 1)]
    return steps


def _reck(n: int) -> list[tuple[bool, int, int]]:
    """Nullings ``(from_right, mode, line)`` row by row from below, all from the right."""
    return [(True, m, row) for row in range(n - 1, 0, -1) for m in range(row)]
