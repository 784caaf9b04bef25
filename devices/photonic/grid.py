"""The grid of a mesh tile's phase shifters.

Shifters stand on a grid ``[rows, max(N, M)]`` in the order in which light meets them: two rows for each column of a
mesh (phi, then theta), one row for its output phases, and one row for the attenuators between the two meshes. Thermal
crosstalk (``phase_shifter``) acts between neighbours on this grid.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.devices.photonic.layouts import layout
from analogsim.devices.photonic.mesh import Phases


class ShifterGrid(NamedTuple):
    """Positions of the phase shifters of one tile; see the module for their order.

    Attributes:
      n_in, n_out: modes of the first and of the last mesh.
      topology: of both meshes, see ``layouts``.

    Example:
      >>> grid = ShifterGrid(4, 2, "rectangular")
      >>> grid.shape, int(grid.mask.sum())        # 7 interferometers with 2 phases, 6 outputs, 2 attenuators
      ((13, 4), 22)
    """

    n_in: int
    n_out: int
    topology: str

    @property
    def columns(self) -> int:
        """Number of columns of both meshes together."""
        return layout(self.n_in, self.topology).columns + layout(self.n_out, self.topology).columns

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(rows, width)`` of the grid."""
        return 2 * self.columns + 3, max(self.n_in, self.n_out)

    @property
    def mask(self) -> np.ndarray:
        """Mask of the positions that have a shifter, ``[rows, width]``, Boolean."""
        return _shifter_mask(*self)

    def joined(self, first: Phases, attenuator: jax.Array, last: Phases) -> jax.Array:
        """Put all phases on the grid ``[rows, width]``; positions without a shifter are zero.

        Args:
          first, last: phases of the meshes of V^dagger and U.
          attenuator: theta of each attenuator, ``[min(n_in, n_out)]``.
        """
        top = _on_grid(first, self.n_in, self.topology, self.shape[1])
        end = _on_grid(last, self.n_out, self.topology, self.shape[1])
        row = jnp.zeros((1, self.shape[1]), attenuator.dtype).at[0, : len(attenuator)].set(attenuator)
        return jnp.concatenate([top, row, end])

    def parted(self, phases: jax.Array) -> tuple[Phases, jax.Array, Phases]:
        """Return the first mesh's phases, the attenuators' and the last mesh's: the inverse of ``joined``."""
        rows = 2 * layout(self.n_in, self.topology).columns + 1
        first = _off_grid(phases[:rows], self.n_in, self.topology)
        last = _off_grid(phases[rows + 1 :], self.n_out, self.topology)
        return first, phases[rows, : min(self.n_in, self.n_out)], last


@functools.cache
def _shifter_mask(n_in: int, n_out: int, topology: str) -> np.ndarray:
    grid = ShifterGrid(n_in, n_out, topology)
    rows = 2 * layout(n_in, topology).columns + 1
    mask = np.zeros(grid.shape, bool)
    mask[rows, : min(n_in, n_out)] = True
    for start, n in ((0, n_in), (rows + 1, n_out)):
        where = layout(n, topology)
        column, slot = np.nonzero(where.occupied)
        for step in (0, 1):
            mask[start + 2 * column + step, where.upper[column, slot]] = True
        mask[start + 2 * where.columns, :n] = True
    return mask


def _on_grid(phases: Phases, n: int, topology: str, width: int) -> jax.Array:
    where = layout(n, topology)
    grid = jnp.zeros((2 * where.columns + 1, width), phases.output.dtype)
    column, slot = np.nonzero(where.occupied)
    mode = where.upper[column, slot]
    grid = grid.at[2 * column, mode].set(phases.phi[column, slot])
    grid = grid.at[2 * column + 1, mode].set(phases.theta[column, slot])
    return grid.at[-1, :n].set(phases.output)


def _off_grid(grid: jax.Array, n: int, topology: str) -> Phases:
    where = layout(n, topology)
    column = np.arange(where.columns)[:, None]
    return Phases(theta=grid[2 * column + 1, where.upper], phi=grid[2 * column, where.upper], output=grid[-1, :n])
