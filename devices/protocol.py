"""The protocol of weight stores, and the records that its methods return.

A weight store is whatever physically holds a weight matrix: a crossbar of cells, an interferometer mesh, a bank of
rings, a quantum register, digital memory. Layers, sweeps, training, energy and reports use only this protocol.

A store is read through columns, each converted by one ADC: one column per output in the simplest case, several if a
weight is cut into slices or its sign is subtracted after conversion. ``combine`` is the digital logic behind the ADCs.

The matrix that reaches a store is normalised: its entries lie in [-1, 1], because the digital scale of every column
was divided out before (``signal_path.tiling``). ``program`` draws what is random once (fabrication, writing); the
variance of ``read`` and ``noise`` describe what is random in every read. Time enters only as a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from analogsim.base.types import Numeric, PyTree

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Moments(NamedTuple):
    """First two moments of the matrix that a store holds at one time, over repeated reads.

    Returned by ``WeightStore.read``.

    Attributes:
      mean: expected value of each entry, shape ``[n_in, n_columns]``.
      variance: variance of each entry in one read, same shape; None if reading is noiseless.
      curvature: factors of x|x| and x^3, ``[2, n_in, n_columns]``, for cells whose current is not proportional to the
        voltage; None for ohmic cells.
      slow: fraction of every variance that all reads of one reading (one array at one time) have in common, one number
        in [0, 1]: fluctuations slower than the interval between reads. The rest is independent from read to read. None
        stands for 0.
    """

    mean: Float[Array, "n_in n_columns"]
    variance: Float[Array, "n_in n_columns"] | None = None
    curvature: Float[Array, "2 n_in n_columns"] | None = None
    slow: Float[Array, ""] | None = None


class ColumnMap(NamedTuple):
    """Grouping of a tile's columns by slice and by output; NumPy arrays, because it is static structure.

    Attributes:
      slice: index of the weight slice that each column reads, ``[n_columns]``, integers from 0.
      output: index of the output that each column serves, ``[n_columns]``; -1 for a column that serves all outputs.
      factor: factor of each slice in the sum over slices, ``[n_slices]``, up to a common factor.
      step: for each slice, the smallest difference between two values of a column if inputs are 0 or 1, in units of a
        fully driven cell, ``[n_slices]``; None if weights are not quantised.
    """

    slice: np.ndarray
    output: np.ndarray
    factor: np.ndarray
    step: np.ndarray | None


class Action(NamedTuple):
    """An operation that a store performs for one matrix-vector product and that costs energy.

    Returned by ``WeightStore.cost``.

    Attributes:
      name: entry of the energy table that applies, for example ``"cell read"``.
      quantity: amount, in ``unit``.
      unit: unit that the energy is given per, for example ``"S"`` (siemens that a squared voltage is applied to).
    """

    name: str
    quantity: jax.Array | float
    unit: str


class WeightStore(Protocol):
    """A frozen pytree of physical numbers that can hold one matrix. All methods are pure and traceable.

    Tags are the properties of a store that are known without running it, as attributes or properties. ``StoreTags`` has
    the values of a plain store; derive from it, or from ``OneColumnPerOutput``, and state only what differs. Boolean
    tags choose which program is compiled, so they are never traced.

    Implemented by ``DigitalMemory`` (the shortest), ``Crossbar``, ``MZIMesh`` and others, with examples there.
    """

    #: Whether ``program`` draws random numbers, so that it needs a key.
    draws_at_program: bool
    #: Whether reads may vary; if False, ``read`` returns no variance.
    draws_at_read: bool
    #: Whether detection adds noise at the output; if False, ``noise`` returns None.
    detects_noise: bool
    #: Whether a read destroys the stored state, so that every read needs a freshly prepared copy.
    destructive_read: bool
    #: Whether reads fluctuate so slowly that all steps of one product (inputs driven slice by slice) see the same
    #: cells; if False, every step is an independent read.
    noise_persists: bool
    #: Whether ``read`` solves a network of resistive lines; if the solver does not converge, ``read`` returns NaN.
    has_wires: bool
    #: Largest time after programming for which the model has data, in seconds; None without a limit.
    time_limit_s: Any
    #: Time after programming from which the model is extrapolated beyond its data at the user's request, in seconds;
    #: None if nothing is extrapolated.
    extrapolated_after_s: Any
    #: Time of one product, in seconds; None if the peripheral circuits determine it (``EnergyTable.read_time_s``).
    read_time_s: Any
    #: Energy of writing and verifying one cell, in joules; None if ``EnergyTable.cell_write_j`` applies.
    cell_write_j: Any

    def program(self, key: jax.Array | None, weights: Float[Array, "n_in n_out"], reprogram: Any = None) -> Any:
        """Fabricate and program one array, or reprogram an existing one.

        Args:
          key: random key for this array's fabrication and programming; None only for a store without randomness.
          weights: normalised matrix in [-1, 1], shape ``[n_in, n_out]``.
          reprogram: state of an existing array of this shape; what its fabrication drew stays. Passed only when an
            array is reprogrammed; a store that draws nothing at fabrication need not take it.

        Returns:
          The programmed state, an opaque pytree.
        """
        ...

    def read(self, state: PyTree, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the stored matrix ``time_s`` seconds after programming, in the units of the programmed matrix.

        Args:
          state: as returned by ``program``.
          time_s: seconds after programming.
          key: None for moments; a random key for one sampled read.

        Returns:
          Without a key, the mean and variance over reads, and the fraction of the variance that is slow. With a key,
          one sampled read of every cell, slow and fast fluctuations together, with variance None.
        """
        ...

    def noise(
        self, x: Float[Array, "*batch n_in"], y: Float[Array, "*batch n_columns"], state: PyTree
    ) -> Float[Array, "*batch n_columns"] | None:
        """Return the standard deviation of the noise that detection adds at the output, shape of ``y``; None if none.

        Args:
          x: normalised inputs in [-1, 1], ``[..., n_in]``.
          y: their product with the stored columns, ``[..., n_columns]``.
          state: as returned by ``program``.
        """
        ...

    @property
    def needs_drive(self) -> bool:
        """True if ``combine`` needs the sum of the inputs."""
        ...

    def combine(
        self, y: Float[Array, "*batch n_columns"], drive: Float[Array, "*batch 1"] | None
    ) -> Float[Array, "*batch n_out"]:
        """Combine converted columns into outputs ``[..., n_out]``; linear.

        Args:
          y: converted columns, ``[..., n_columns]``.
          drive: sum of the tile's inputs, ``[..., 1]``; None if ``needs_drive`` is False.
        """
        ...

    def to_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Split weights ``[n_in, n_out]`` into columns ``[n_in, n_columns]``, through which gradients flow.

        Linear, and a right inverse: ``combine`` of the columns gives ``weights``.
        """
        ...

    def n_columns(self, n_out: int) -> int:
        """Return the number of columns of a tile with ``n_out`` outputs."""
        ...

    def ideal_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Return the columns of a perfectly written store, constant parts included: the range the ADCs must cover."""
        ...

    def column_map(self, n_out: int) -> ColumnMap:
        """Return how the columns of a tile are grouped."""
        ...

    def cost(self, weights: Float[Array, "n_in n_out"], read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the operations of one matrix-vector product; the energy account converts them to joules.

        Args:
          weights: normalised matrix in [-1, 1], ``[n_in, n_out]``.
          read_fraction: cost of driving a row, as a fraction of a read at full voltage: the mean squared normalised
            input for amplitudes, a number in [0, 1]; more than 1 if one product takes several reads.
        """
        ...

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of physical cells that hold a matrix of this size."""
        ...


class StoreTags:
    """Default tags of a store (see ``WeightStore``): random programming and reads. ``Crossbar`` derives from it."""

    # Any, because a store overrides them either by attributes or by properties, which mypy would not accept for bool.
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
    """Base class of stores that read every output through one column, so that nothing has to be combined.

    ``DigitalMemory`` shows which methods a derived class adds: ``program``, ``read``, ``noise``, ``cost``, ``n_cells``.
    """

    needs_drive = False

    def combine(
        self, y: Float[Array, "*batch n_columns"], drive: Float[Array, "*batch 1"] | None
    ) -> Float[Array, "*batch n_out"]:
        """Return ``y``: the columns are the outputs."""
        del drive
        return y

    def to_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Return ``weights``: the weights are the columns."""
        return weights

    def n_columns(self, n_out: int) -> int:
        """Return ``n_out``: one column per output."""
        return n_out

    def ideal_columns(self, weights: Float[Array, "n_in n_out"]) -> Float[Array, "n_in n_columns"]:
        """Return ``weights``: the weights are the columns."""
        return weights

    def column_map(self, n_out: int) -> ColumnMap:
        """Return a map with one slice, without quantisation."""
        return ColumnMap(np.zeros(n_out, int), np.arange(n_out), np.ones(1), None)
