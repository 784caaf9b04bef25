"""What every weight store promises, and the two records it answers with.

A weight store is whatever physically holds a weight matrix: a crossbar of cells, an interferometer mesh, a bank of
rings, a quantum register, digital memory. Layers, sweeps, training, energy and reports know only what stands here.

A store is read through lines, each converted by one ADC: one line per output in the simplest case, several where a
weight is cut into slices or its sign is subtracted after conversion. ``combine`` is the digital logic behind the
converters.

The matrix that reaches a store is normalised: its entries lie in [-1, 1], because the digital scale of every column
was divided out before (``signal_path.tiling``). What is random once (fabrication, writing) is drawn in ``program``;
what is random at every read is described by the variance of ``read`` and by ``noise``. Time enters only as a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Moments(NamedTuple):
    """What a store holds at one time: first two moments of a matrix entry over repeated reads.

    Attributes:
      mean: expected value of each entry, shape ``[n_in, n_columns]``.
      variance: variance of each entry in one read, same shape; None where reading is noiseless.
      curvature: what x|x| and x^3 are multiplied with, ``[2, n_in, n_columns]``, for cells whose current is not
        proportional to the voltage; None where it is.
      slow: the fraction of every variance that all reads of one reading (one array at one time) have in common, one
        number in [0, 1], because it fluctuates more slowly than they follow each other; the rest is independent from
        read to read. None for 0.
    """

    mean: Float[Array, "n_in n_columns"]
    variance: Float[Array, "n_in n_columns"] | None = None
    curvature: Float[Array, "2 n_in n_columns"] | None = None
    slow: Float[Array, ""] | None = None


class ColumnMap(NamedTuple):
    """Which readout lines belong together, for a tile; numpy, because it is structure.

    Attributes:
      slice: for every line, which slice of the weights it reads, ``[n_columns]``, integers from 0.
      output: for every line, which output it serves, ``[n_columns]``; -1 for a line that serves them all.
      factor: what a unit of each slice's lines counts in the sum of the slices, ``[n_slices]``, up to a common factor.
      step: for every slice, the smallest difference that two values of a line can have when inputs are 0 or 1, in
        units of a fully driven cell, ``[n_slices]``; None where weights are not quantised.
    """

    slice: np.ndarray
    output: np.ndarray
    factor: np.ndarray
    step: np.ndarray | None


class Action(NamedTuple):
    """Something that a store does for one matrix-vector product and that costs energy.

    Attributes:
      name: which price applies, for example ``"cell read"``.
      quantity: how much of it, in ``unit``.
      unit: what the price is per, for example ``"S"`` (siemens that a squared voltage is applied to).
    """

    name: str
    quantity: jax.Array | float
    unit: str


class WeightStore(Protocol):
    """A frozen pytree of physical numbers that can hold one matrix. All methods are pure and traceable.

    What can be said of a store without running it are tags: attributes or properties. ``StoreTags`` has the values of
    a plain store; derive from it, or from ``OneColumnPerOutput``, and state only what differs. Those that are truth
    values choose which program is compiled, so they are never traced.
    """

    #: Whether ``program`` draws random numbers, so that it needs a key.
    draws_at_program: bool
    #: Whether reads may vary; where False, ``read`` gives no variance.
    draws_at_read: bool
    #: Whether detection adds noise at the output; where False, ``noise`` gives None.
    detects_noise: bool
    #: Whether reading ends what is stored, so that every read takes a copy prepared anew.
    destructive_read: bool
    #: Whether reads fluctuate so slowly that all steps of one product (inputs driven slice by slice) meet the same
    #: cells; where False, every step is a read of its own.
    noise_persists: bool
    #: Whether ``read`` solves a network of resistive lines, which may fail: it then gives NaN.
    has_wires: bool
    #: Largest time after programming for which the model has data, in seconds; None without a limit.
    time_limit_s: Any
    #: From which time after programming on the model goes on beyond its data, because a user asked for it, in seconds;
    #: None where nothing is extrapolated.
    extrapolated_after_s: Any
    #: Time of one product, in seconds; None where the circuits around the store decide (``EnergyTable.read_time_s``).
    read_time_s: Any
    #: Energy of writing and verifying one cell, in joules; None where ``EnergyTable.cell_write_j`` says it.
    cell_write_j: Any

    def program(self, key: jax.Array | None, weights: Float[Array, "n_in n_out"], reprogram: Any = None) -> Any:
        """Fabricate and write one array, or write one again.

        Args:
          key: what this array's fabrication and writing are drawn from; None only for a store without randomness.
          weights: normalised matrix in [-1, 1], shape ``[n_in, n_out]``.
          reprogram: the state of an array of this shape that is written again: what its fabrication drew stays. Passed
            only then; a store that draws nothing at fabrication need not take it.

        Returns:
          The programmed state, an opaque pytree.
        """
        ...

    def read(self, state: Any, time_s: Any, key: jax.Array | None = None) -> Moments:
        """What the array holds ``time_s`` seconds after programming, in the units of the programmed matrix.

        Without a key: the mean and variance over reads, and which fraction of it is slow. With a key: one sampled read
        of every cell, slow and fast fluctuations together, variance None.
        """
        ...

    def noise(
        self, x: Float[Array, "*batch n_in"], y: Float[Array, "*batch n_columns"], state: Any
    ) -> Float[Array, "*batch n_columns"] | None:
        """Standard deviation of what detection adds at the output, shape of ``y``; None for nothing.

        Args:
          x: normalised inputs in [-1, 1], ``[..., n_in]``.
          y: their product with the stored lines, ``[..., n_columns]``.
          state: as returned by ``program``.
        """
        ...

    @property
    def needs_drive(self) -> bool:
        """Whether ``combine`` needs the sum of the inputs."""
        ...

    def combine(
        self, y: Float[Array, "*batch n_columns"], drive: Float[Array, "*batch 1"] | None
    ) -> Float[Array, "*batch n_out"]:
        """Outputs ``[..., n_out]`` from converted lines; linear.

        Args:
          y: what the lines' converters gave, ``[..., n_columns]``.
          drive: the sum of the inputs of the tile, ``[..., 1]``; None if ``needs_drive`` is False.
        """
        ...

    def to_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Lines ``[n_in, n_columns]`` that combine to ``weights`` ``[n_in, n_out]``: where gradients enter; linear."""
        ...

    def n_columns(self, n_out: int) -> int:
        """How many lines read a tile of ``n_out`` outputs."""
        ...

    def ideal_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Return the columns of a perfectly written store, constant parts included: what the ADCs must cover."""
        ...

    def column_map(self, n_out: int) -> ColumnMap:
        """How the lines of a tile are grouped."""
        ...

    def cost(self, weights: Float[Array, "n_in n_out"], read_fraction: Any) -> tuple[Action, ...]:
        """What one matrix-vector product does, to be priced elsewhere.

        Args:
          weights: normalised matrix in [-1, 1], ``[n_in, n_out]``.
          read_fraction: what a row spends, as a fraction of a read at full voltage: the mean squared normalised input
            for amplitudes, a number in [0, 1]; more than 1 where one product takes several reads.
        """
        ...

    def n_cells(self, n_in: int, n_out: int) -> int:
        """How many physical cells hold a matrix of this size."""
        ...


class StoreTags:
    """The tags of a plain store (see ``WeightStore``), whose programming and reads are random."""

    # Any: a store overrides them by attributes or by properties.
    draws_at_program: Any = True
    draws_at_read: Any = True
    detects_noise: Any = False
    destructive_read: Any = False
    noise_persists: Any = False
    has_wires: Any = False
    time_limit_s: Any = None
    extrapolated_after_s: Any = None
    read_time_s: Any = None
    cell_write_j: Any = None


class OneColumnPerOutput(StoreTags):
    """What a store is that reads every output by one line of its own: nothing to combine."""

    needs_drive = False

    def combine(
        self, y: Float[Array, "*batch n_columns"], drive: Float[Array, "*batch 1"] | None
    ) -> Float[Array, "*batch n_out"]:
        """The lines are the outputs."""
        del drive
        return y

    def to_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """The weights are the lines."""
        return weights

    def n_columns(self, n_out: int) -> int:
        """As many as outputs."""
        return n_out

    def ideal_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """The weights are the lines."""
        return weights

    def column_map(self, n_out: int) -> ColumnMap:
        """One slice."""
        return ColumnMap(np.zeros(n_out, int), np.arange(n_out), np.ones(1), None)
