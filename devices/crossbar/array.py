"""A crossbar as a weight store: a cell technology, a mapping, and the effects of fabrication and programming.

The bit lines sum the products of the input voltages with the cells' conductances (Ohm and Kirchhoff):
I_j = sum_i V_i G_ij. With inputs and weights normalised to [-1, 1], y_j = sum_i x_i w_ij, and read noise that is
independent from cell to cell gives y the variance sum_i x_i^2 Var(w_ij), exactly. The part of it that is independent
from read to read is drawn in every product, the slow part (``one_over_f``) once per reading.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.once import once
from analogsim.base.random import split, stream
from analogsim.base.types import Numeric, PyTree
from analogsim.devices.crossbar.cell import Cell, largest
from analogsim.devices.crossbar.expected import Expected, expected
from analogsim.devices.crossbar.faults import FabricatedCells, Faults
from analogsim.devices.crossbar.mapping import Differential
from analogsim.devices.crossbar.pcm import PCM
from analogsim.devices.crossbar.wires import Wires, effective_moments, interleave, separate
from analogsim.devices.crossbar.write_verify import WriteResult, WriteVerify
from analogsim.devices.protocol import Action, ColumnMap, Moments, StoreTags


def _keys(key: jax.Array, arrays: int) -> jax.Array:
    """Return one key per array of cells."""
    # The name selects the random numbers: another one would change every result under a fixed key.
    return split(stream(key, "cells of a pair"), arrays)


class ArrayState(NamedTuple):
    """State of one array after fabrication and programming.

    Attributes:
      cells: state of the cells, leading axes ``[arrays, n_in, columns]``: one array per plane and polarity.
      fabric: stuck cells and scales of the cells, fixed at fabrication; None without faults.
      pulses: number of write pulses that each cell took, int32; None without ``write_verify``.
      accepted: whether the program-and-verify loop accepted each cell; None without ``write_verify``.
    """

    cells: PyTree
    fabric: FabricatedCells | None = None
    pulses: jax.Array | None = None
    accepted: jax.Array | None = None


class Crossbar(StoreTags, Description):
    """An array of memory cells that stores a matrix as conductances.

    By default cells are programmed with their published error (most of those cells were programmed and verified). With
    ``write_verify`` they are programmed pulse by pulse, and its window is then the only programming error.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> store = Crossbar(cell=PCM())
      >>> state = store.program(jax.random.key(0), jnp.full((8, 4), 0.5))
      >>> store.read(state, 3600.0).mean.shape
      (8, 4)
    """

    cell: Any = field(
        factory=PCM, methods=("program", "read", "g_min", "g_max", "time_limit_s"), doc="the memory technology"
    )
    mapping: Any = field(
        factory=Differential, methods=("conductances", "columns", "combine"), doc="how a weight becomes conductances"
    )
    faults: Faults | None = field(
        default=None, optional=True, kind=Faults, doc="stuck cells, device variation, spare columns; None: none"
    )
    write_verify: WriteVerify | None = field(
        default=None,
        optional=True,
        kind=WriteVerify,
        doc="program-and-verify loop; None: the cell's published programming error",
    )

    wires: Wires | None = field(
        default=None, optional=True, kind=Wires, doc="resistance of word and bit lines; None: perfect lines"
    )
    polarities: str = static(
        default="separate",
        choices=("separate", "interleaved"),
        doc="plus and minus cells of pairs in two arrays, or in alternating columns on common word lines",
    )

    def check(self) -> None:
        self._check_wires()
        self._check_window()
        if self.write_verify is not None:
            self._check_write_verify()

    def _check_window(self) -> None:
        low, high = self.cell.g_min, self.cell.g_max
        if isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer):
            # Traced ends cannot raise an error, so an empty window becomes NaN and every result too. A MeasuredCell has
            # no such field: its g_max is a property of the table.
            if any(f.name == "g_max" for f in dataclasses.fields(self.cell)):
                cell = self.cell.replace(g_max=jnp.where(low < high, high, jnp.nan))
                object.__setattr__(self, "cell", cell)
        elif np.any(np.asarray(low) >= high):
            self.refuse("cell.g_min", f"must be less than g_max = {high} (unit: S)")

    def _check_write_verify(self) -> None:
        name = getattr(self.cell, "write_error", None)
        if name is None:
            self.refuse(
                "write_verify",
                f"must be None for {type(self.cell).__name__}, whose published variation does not separate "
                f"the programming error from other effects, so that a program-and-verify loop cannot replace it",
            )
        value, default = getattr(self.cell, name), getattr(type(self.cell), name)
        if isinstance(value, float) and value not in (0.0, default):
            self.refuse(
                f"cell.{name}",
                f"has no effect with write_verify, whose window sets the programming error; must stay {default:g}",
            )

    def _check_wires(self) -> None:
        if self.polarities == "interleaved" and not isinstance(self.mapping, Differential):
            self.refuse("polarities", f"must be 'separate' for {type(self.mapping).__name__}, which has no pairs")
        if self.polarities == "interleaved" and self.wires is None:
            self.refuse(
                "polarities",
                "must be 'separate' without wires: the order of the columns matters only for their resistance",
            )
        if self.wires is not None and hasattr(self.cell, "current_coefficients"):
            self.refuse(
                "wires",
                f"must be None for {type(self.cell).__name__}, whose current is not proportional to the voltage: no "
                f"single matrix describes such an array (crossbar.nonlinear_wires solves a single one)",
            )

    @property
    def has_wires(self) -> bool:
        """True if word and bit lines have a resistance."""
        return self.wires is not None

    @property
    def noise_persists(self) -> bool:
        """True if the cells' fluctuations persist through all steps of one product."""
        return getattr(self.cell, "noise_persists", False)

    @property
    def time_limit_s(self) -> float | None:
        """Last time for which the cell's model has data, in seconds after programming; None without a limit."""
        return self.cell.time_limit_s

    @property
    def extrapolated_after_s(self) -> float | None:
        """Time from which the cell's model is extrapolated, in seconds after programming; None: never."""
        return getattr(self.cell, "extrapolated_after_s", None)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: ArrayState | None = None) -> ArrayState:
        """Fabricate and program an array, or reprogram an existing one.

        Args:
          key: random key for fabrication and programming.
          weights: normalised weights in [-1, 1], ``[n_in, n_out]``.
          reprogram: state of an existing array, whose stuck cells and scales are reused; None for a new array.

        Raises:
          InputError: if ``key`` is None.
        """
        if key is None:
            raise InputError("key = None: programming a crossbar draws random numbers, pass a key (jax.random.key(0))")
        targets = self.mapping.conductances(wide(weights), self.cell.g_min, self.cell.g_max)
        fabric = None
        if self.faults is not None:
            previous = None if reprogram is None else reprogram.fabric
            fabric = self.faults.fabricate(stream(key, "fabric"), targets.shape) if previous is None else previous
        if self.write_verify is None:
            # Stuck cells are written like all others and replaced when read: no other cell's numbers change.
            reached = self.faults.scale(fabric, targets) if self.faults is not None and fabric is not None else targets
            return ArrayState(self._written(self.cell, key, reached), fabric)
        low, high, factor = self._ends(targets, fabric)
        verify = stream(key, "write and verify")
        loop = self.write_verify.write(verify, targets, g_min=low, g_max=high, factor=factor)
        # The loop has made the programming error; the cell draws only what follows it (drift exponents, relaxation).
        exact = self.cell.replace(**{self.cell.write_error: 0.0})
        return ArrayState(self._written(exact, key, loop.conductance), fabric, loop.pulses, loop.accepted)

    def _written(self, cell: Cell, key: jax.Array, conductances: jax.Array) -> Any:
        return jax.vmap(cell.program)(_keys(key, len(conductances)), conductances)

    def _ends(self, targets: jax.Array, fabric: FabricatedCells | None) -> tuple[Any, Any, jax.Array | None]:
        """Return the conductances at which each cell saturates, and its scale.

        Both ends are equal for a stuck cell: no pulse moves it.
        """
        # The cell's own largest conductance, not the end of the window in use, which pulses may overshoot.
        if self.faults is None or fabric is None:
            return self.cell.g_min, largest(self.cell), None
        low, high = (
            self.faults.apply(fabric, Moments(jnp.full_like(targets, g)), self.cell.g_min, largest(self.cell)).mean
            for g in (self.cell.g_min, largest(self.cell))
        )
        return low, high, fabric.factor

    def read(self, state: ArrayState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the columns at ``time_s``: mean and variance over reads, or one sampled read if a key is given.

        In units of the programmed matrix, ``[n_in, n_columns]``. All weights are NaN beyond the last time for which the
        cell's model has data, and if the network of resistive lines is not solved to its tolerance.

        Args:
          state: as returned by ``program``.
          time_s: seconds after programming, one number.
          key: random key of one sampled read; None for moments.
        """
        slow = None
        if key is None:
            # Once, because the powers behind a conductance have several uses (readout, mean, variance).
            cells = once(jax.vmap(lambda s: self.cell.read(s, time_s)))(state.cells)
            slow = None if cells.slow is None else cells.slow[0]  # one number, the same for all arrays
            cells = cells._replace(slow=None)
        else:
            keys = _keys(key, len(jax.tree.leaves(state.cells)[0]))
            cells = jax.vmap(lambda k, s: self.cell.read(s, time_s, k))(keys, state.cells)
        if self.faults is not None and state.fabric is not None:
            # Before the wires, as a stuck cell loads its lines like any other.
            cells = self.faults.apply(state.fabric, cells, self.cell.g_min, largest(self.cell))
        if self.wires is not None:
            cells = self._behind_wires(self.wires, cells)
        columns = self.mapping.columns(cells, self.cell.g_min, self.cell.g_max)
        columns = columns._replace(curvature=self._curvature(cells.mean), slow=slow)
        if self.time_limit_s is None:
            return columns
        # A traced time cannot raise an error, so times beyond the data give NaN.
        has_data = jnp.asarray(time_s) <= self.time_limit_s
        return jax.tree.map(lambda a: jnp.where(has_data, a, jnp.nan), columns)

    def expected(self, weights: jax.Array, time_s: Numeric, read_noise: bool = True) -> Expected:
        """Return the moments of the columns over chips and reads for weights ``[..., n_in, n_out]``, without a chip.

        See ``crossbar.expected.expected`` for arguments and errors.
        """
        return expected(self, weights, time_s, read_noise)

    def _behind_wires(self, wires: Wires, cells: Moments) -> Moments:
        """Return the effective conductances of arrays ``[arrays, n_in, columns]`` behind resistive lines."""
        if self.polarities == "separate":
            return effective_moments(wires, cells)
        # All plus arrays come first: [2, planes, n_in, n_out], joined plane by plane.
        pairs = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(2, -1, *a.shape[1:]), 0, 1), cells)
        effective = effective_moments(wires, jax.tree.map(interleave, pairs))

        def apart(a: jax.Array) -> jax.Array:
            a = jnp.moveaxis(separate(a), 1, 0)
            return a.reshape(-1, *a.shape[2:])

        return jax.tree.map(apart, effective)

    def _curvature(self, conductances: jax.Array) -> jax.Array | None:
        """Second- and third-order currents of the columns at the read voltage; None for ohmic cells."""
        law = getattr(self.cell, "current_coefficients", None)
        if law is None:
            return None
        a2, a3 = law(conductances)
        v = self.cell.read_voltage_v
        ends = self.cell.g_min, self.cell.g_max
        # Columns multiply x = V/V_read: divided by V_read, a2 V|V| becomes a2 V_read x|x|, and a3 V^3 a3 V_read^2 x^3.
        return jnp.stack([self.mapping.columns(Moments(a), *ends).mean for a in (a2 * v, a3 * v**2)])

    def noise(self, x: jax.Array, y: jax.Array, state: PyTree) -> None:
        """Return None: columns add no noise; the noise of amplifiers and converters belongs to the ADC."""
        return None

    @property
    def needs_drive(self) -> bool:
        """True if ``combine`` needs the sum of the inputs, from which the mapping subtracts a constant."""
        return self.mapping.needs_drive

    def combine(self, y: jax.Array, drive: jax.Array | None) -> jax.Array:
        """Combine converted columns ``[..., n_columns]`` into outputs ``[..., n_out]`` by the mapping's rule."""
        return self.mapping.combine(y, drive, self.cell.g_min, self.cell.g_max)

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Split weights ``[n_in, n_out]`` into columns ``[n_in, n_columns]`` that combine to them."""
        return self.mapping.to_columns(weights)

    def ideal_columns(self, weights: jax.Array) -> jax.Array:
        """Return the columns ``[n_in, n_columns]`` of the target conductances."""
        if getattr(self.mapping, "keeps_weights", False):  # a mapping of a user need not say
            return self.mapping.to_columns(weights)
        targets = self.mapping.conductances(weights, self.cell.g_min, self.cell.g_max)
        return self.mapping.columns(Moments(targets), self.cell.g_min, self.cell.g_max).mean

    def column_map(self, n_out: int) -> ColumnMap:
        """Return how the columns are grouped by the mapping."""
        return self.mapping.column_map(n_out)

    def n_columns(self, n_out: int) -> int:
        """Return the number of physical columns of ``n_out`` outputs."""
        return self.mapping.n_columns(n_out)

    def written(self, state: ArrayState) -> tuple[Action, ...]:
        """Return the pulses and verifying reads that programming this array took; empty without ``write_verify``."""
        if self.write_verify is None or state.pulses is None or state.accepted is None:
            return ()
        return self.write_verify.cost(WriteResult(jnp.zeros(()), state.pulses, state.accepted))

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the siemens that the squared read voltage is applied to, summed over cells.

        For amplitude-coded inputs the energy of a read is sum_ij G_ij V_i^2 t with V_i = x_i V_max, so the energy table
        gives an energy per siemens at full voltage.
        """
        targets = self.mapping.conductances(weights, self.cell.g_min, self.cell.g_max)
        return (Action("cell read", jnp.sum(targets) * read_fraction, "S"),)

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of physical cells, those of spare columns included."""
        used = self.mapping.n_cells(n_in, n_out)
        if self.faults is None or not self.faults.spare_columns:
            return used
        per_column = self.mapping.n_cells(n_in, n_out + 1) - used
        return used + self.faults.spare_columns * per_column
