"""A crossbar as a weight store: a cell technology, a mapping, and what fabrication and writing do to them.

The product of the input voltages with the cells' conductances is summed by the bit lines (Ohm and Kirchhoff):
I_j = sum_i V_i G_ij. With inputs and weights normalised to [-1, 1], y_j = sum_i x_i w_ij, and reading noise that is
independent from cell to cell gives y the variance sum_i x_i^2 Var(w_ij), exactly: the part of it that is independent
from read to read anew in every product, the slow part (``one_over_f``) once for all of one reading.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.devices.crossbar.cell import largest
from analogsim.devices.crossbar.expected import Expected, expected
from analogsim.devices.crossbar.faults import FabricatedCells, Faults
from analogsim.devices.crossbar.mapping import Differential
from analogsim.devices.crossbar.pcm import PCM
from analogsim.devices.crossbar.wires import Wires, effective_moments, interleave, separate
from analogsim.devices.crossbar.write_verify import WriteResult, WriteVerify
from analogsim.devices.protocol import Action, ColumnMap, Moments, StoreTags


def _one_by_one(function: Any, cells: Any) -> Any:
    """``function`` over the leading axis: one array of cells after another (plane by plane, plus before minus).

    A loop instead of one call, because XLA keeps a loop's results. Without it the random numbers and powers behind a
    conductance are computed again for each of its uses (readout, mean, variance), which is four times slower on a CPU.
    """
    return lax.map(function, cells)


def _keys(key: jax.Array, arrays: int) -> jax.Array:
    """One key an array of cells."""
    return jnp.stack([stream(key, f"cell {i} of a pair") for i in range(arrays)])


class ArrayState(NamedTuple):
    """One array as made and written.

    Attributes:
      cells: the cells' own state, leading axes ``[arrays, n_in, columns]``: one array a plane and polarity.
      fabric: stuck cells and unequal scales, fixed at fabrication; None without faults.
      pulses: write pulses that each cell took, int32; None if cells are written as published.
      accepted: whether the loop accepted each cell; None likewise.
    """

    cells: Any
    fabric: FabricatedCells | None = None
    pulses: jax.Array | None = None
    accepted: jax.Array | None = None


class Crossbar(StoreTags, Description):
    """An array of memory cells.

    Cells are written with the spread that was published for them (most of them were written and verified), or, with
    ``write_verify``, pulse by pulse to its window, which then is the only error of writing.

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
        factory=Differential, methods=("conductances", "lines", "combine"), doc="how a weight becomes conductances"
    )
    faults: Faults | None = field(
        default=None, optional=True, kind=Faults, doc="stuck cells, unequal cells, spare columns; None: perfect"
    )
    write_verify: WriteVerify | None = field(
        default=None, optional=True, kind=WriteVerify, doc="closed-loop writing; None: the cell's published spread"
    )

    wires: Wires | None = field(
        default=None, optional=True, kind=Wires, doc="resistance of the lines; None: perfect lines"
    )
    polarities: str = static(
        default="separate",
        choices=("separate", "interleaved"),
        doc="the plus and minus cells of pairs in two arrays, or in columns that alternate on common word lines",
    )

    def check(self) -> None:
        self._check_wires()
        self._check_window()
        if self.write_verify is not None:
            self._check_write_verify()

    def _check_window(self) -> None:
        low, high = self.cell.g_min, self.cell.g_max
        if isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer):
            if any(f.name == "g_max" for f in dataclasses.fields(self.cell)):  # no property of a table
                cell = self.cell.replace(g_max=jnp.where(low < high, high, jnp.nan))
                object.__setattr__(self, "cell", cell)
        elif np.any(np.asarray(low) >= high):
            self.refuse("cell.g_min", f"must be less than g_max = {high} (unit: S)")

    def _check_write_verify(self) -> None:
        name = getattr(self.cell, "write_error", None)
        if name is None:
            self.refuse(
                "write_verify",
                f"must be None for {type(self.cell).__name__}, which cannot be written in a loop: its published spread "
                f"after writing cannot be told from what follows",
            )
        value, default = getattr(self.cell, name), getattr(type(self.cell), name)
        if isinstance(value, float) and value not in (0.0, default):
            self.refuse(
                f"cell.{name}",
                f"has no effect with write_verify, whose window is the error of writing; must be left at {default:g}",
            )

    def _check_wires(self) -> None:
        if self.polarities == "interleaved" and not isinstance(self.mapping, Differential):
            self.refuse("polarities", f"must be 'separate' for {type(self.mapping).__name__}, a mapping without pairs")
        if self.polarities == "interleaved" and self.wires is None:
            self.refuse(
                "polarities",
                "must be 'separate' without wires, whose resistance is all that the order of the columns changes",
            )
        if self.wires is not None and hasattr(self.cell, "current_coefficients"):
            self.refuse(
                "wires",
                f"must be None for {type(self.cell).__name__}, whose current is not proportional to the voltage: no "
                f"one matrix stands for such an array (crossbar.nonlinear_wires solves it alone)",
            )

    @property
    def has_wires(self) -> bool:
        """Whether the lines have a resistance."""
        return self.wires is not None

    @property
    def noise_persists(self) -> bool:
        """Whether the cells' fluctuations last through all steps of one product."""
        return getattr(self.cell, "noise_persists", False)

    @property
    def time_limit_s(self) -> float | None:
        """Last time for which the cell's model has data, seconds after programming."""
        return self.cell.time_limit_s

    @property
    def extrapolated_after_s(self) -> float | None:
        """From which time on the cell's model goes on beyond its data, seconds after programming; None: never."""
        return getattr(self.cell, "extrapolated_after_s", None)

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: ArrayState | None = None) -> ArrayState:
        """Make an array and write normalised weights ``[n_in, n_out]``, or write one that exists again."""
        if key is None:
            raise InputError("key = None: programming a crossbar draws random numbers, pass a key (jax.random.key(0))")
        targets = self.mapping.conductances(wide(weights), self.cell.g_min, self.cell.g_max)
        fabric = None
        if self.faults is not None:
            made = None if reprogram is None else reprogram.fabric
            fabric = self.faults.fabricate(stream(key, "fabric"), targets.shape) if made is None else made
        if self.write_verify is None:
            reached = self.faults.scale(fabric, targets) if self.faults is not None and fabric is not None else targets
            return ArrayState(self._written(self.cell, key, reached), fabric)
        low, high, factor = self._ends(targets, fabric)
        verify = stream(key, "write and verify")
        loop = self.write_verify.write(verify, targets, g_min=low, g_max=high, factor=factor)
        exact = self.cell.replace(**{self.cell.write_error: 0.0})
        return ArrayState(self._written(exact, key, loop.conductance), fabric, loop.pulses, loop.accepted)

    def _written(self, cell: Any, key: jax.Array, conductances: jax.Array) -> Any:
        return _one_by_one(lambda pair: cell.program(*pair), (_keys(key, len(conductances)), conductances))

    def _ends(self, targets: jax.Array, fabric: FabricatedCells | None) -> tuple[Any, Any, jax.Array | None]:
        """Where each cell saturates, and its scale. A stuck cell's two ends are equal: no pulse moves it."""
        if self.faults is None or fabric is None:
            return self.cell.g_min, largest(self.cell), None
        low, high = (
            self.faults.apply(fabric, Moments(jnp.full_like(targets, g)), self.cell.g_min, largest(self.cell)).mean
            for g in (self.cell.g_min, largest(self.cell))
        )
        return low, high, fabric.factor

    def read(self, state: ArrayState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The readout lines at ``time_s``: mean and variance over reads, or one sampled read if a key is given.

        Beyond the time that the cell's model has data for, every weight is NaN, and so it is where the network of
        resistive lines cannot be solved to its tolerance.
        """
        slow = None
        if key is None:
            cells = _one_by_one(lambda s: self.cell.read(s, time_s), state.cells)
            slow = None if cells.slow is None else cells.slow[0]  # one number, the same for all arrays
            cells = cells._replace(slow=None)
        else:
            keys = _keys(key, len(jax.tree.leaves(state.cells)[0]))
            cells = _one_by_one(lambda pair: self.cell.read(pair[1], time_s, pair[0]), (keys, state.cells))
        if self.faults is not None and state.fabric is not None:
            cells = self.faults.apply(state.fabric, cells, self.cell.g_min, largest(self.cell))
        if self.wires is not None:
            cells = self._behind_wires(self.wires, cells)
        held = self.mapping.lines(cells, self.cell.g_min, self.cell.g_max)
        held = held._replace(curvature=self._curvature(cells.mean), slow=slow)
        if self.time_limit_s is None:
            return held
        # A traced time cannot be refused; beyond the data the answer is that there is none.
        known = jnp.asarray(time_s) <= self.time_limit_s
        return jax.tree.map(lambda a: jnp.where(known, a, jnp.nan), held)

    def expected(self, weights: jax.Array, time_s: Any, read_noise: bool = True) -> Expected:
        """Mean and variance of the lines over chips and reads for weights ``[..., n_in, n_out]``; no key, no chip."""
        return expected(self, weights, time_s, read_noise)

    def _behind_wires(self, wires: Wires, cells: Moments) -> Moments:
        """What the arrays ``[arrays, n_in, columns]`` amount to behind their lines."""
        if self.polarities == "separate":
            return effective_moments(wires, cells)
        # All plus arrays come first: [2, planes, n_in, n_out], joined plane by plane.
        pairs = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(2, -1, *a.shape[1:]), 0, 1), cells)
        held = effective_moments(wires, jax.tree.map(interleave, pairs))

        def apart(a: jax.Array) -> jax.Array:
            a = jnp.moveaxis(separate(a), 1, 0)
            return a.reshape(-1, *a.shape[2:])

        return jax.tree.map(apart, held)

    def _curvature(self, conductances: jax.Array) -> jax.Array | None:
        """Second- and third-order currents of the lines at the read voltage, if the cells have a law for them."""
        law = getattr(self.cell, "current_coefficients", None)
        if law is None:
            return None
        a2, a3 = law(conductances)
        v = self.cell.read_voltage_v
        ends = self.cell.g_min, self.cell.g_max
        return jnp.stack([self.mapping.lines(Moments(a), *ends).mean for a in (a2 * v, a3 * v**2)])

    def noise(self, x: jax.Array, y: jax.Array, state: Any) -> None:
        """A crossbar's lines add no noise of their own; amplifiers and converters belong to the ADC."""
        return None

    @property
    def needs_drive(self) -> bool:
        """Whether the mapping subtracts a constant with the known sum of the inputs."""
        return self.mapping.needs_drive

    def combine(self, y: jax.Array, drive: jax.Array | None) -> jax.Array:
        """Outputs from converted lines, as the mapping says."""
        return self.mapping.combine(y, drive, self.cell.g_min, self.cell.g_max)

    def to_columns(self, weights: jax.Array) -> jax.Array:
        """Lines that combine to ``weights``."""
        return self.mapping.to_columns(weights)

    def ideal_columns(self, weights: jax.Array) -> jax.Array:
        """Lines of the target conductances."""
        targets = self.mapping.conductances(weights, self.cell.g_min, self.cell.g_max)
        return self.mapping.lines(Moments(targets), self.cell.g_min, self.cell.g_max).mean

    def column_map(self, n_out: int) -> ColumnMap:
        """How the lines are grouped, as the mapping says."""
        return self.mapping.column_map(n_out)

    def n_columns(self, n_out: int) -> int:
        """Readout lines of ``n_out`` outputs."""
        return self.mapping.n_columns(n_out)

    def written(self, state: ArrayState) -> tuple[Action, ...]:
        """Pulses and verifying reads that writing this array took, to be priced; empty without ``write_verify``."""
        if self.write_verify is None or state.pulses is None or state.accepted is None:
            return ()
        return self.write_verify.cost(WriteResult(jnp.zeros(()), state.pulses, state.accepted))

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """Siemens that the squared read voltage is applied to, summed over cells, for amplitude-coded inputs.

        Energy of a read is sum_ij G_ij V_i^2 t, and V_i = x_i V_max, so the price is per siemens at full voltage.
        """
        targets = self.mapping.conductances(weights, self.cell.g_min, self.cell.g_max)
        return (Action("cell read", jnp.sum(targets) * read_fraction, "S"),)

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Number of physical cells, those of spare columns included."""
        used = self.mapping.n_cells(n_in, n_out)
        if self.faults is None or not self.faults.spare_columns:
            return used
        per_column = self.mapping.n_cells(n_in, n_out + 1) - used
        return used + self.faults.spare_columns * per_column
