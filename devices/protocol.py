"""What every weight store promises, and the two records it answers with.

A weight store is whatever physically holds a weight matrix: a crossbar of cells, an interferometer mesh, a bank of
rings, a quantum register, digital memory. Layers, sweeps, training, energy and reports know only what stands here.

The matrix that reaches a store is normalised: its entries lie in [-1, 1], because the digital scale of every column
was divided out before (``analogsim.tiles``). What is random once (fabrication, writing) is drawn in ``program``, what
is random at every read is described by the variance of ``read`` and by ``noise``. Time enters only as a number.
"""

from typing import Any, NamedTuple, Protocol

import jax


class Moments(NamedTuple):
    """What a store holds at one time: first two moments of a matrix entry over repeated reads.

    Attributes:
      mean: expected value of each entry, shape ``[n_in, n_out]``.
      variance: variance of each entry from read to read, same shape; None where reading is noiseless.
    """

    mean: jax.Array
    variance: jax.Array | None = None


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
    """A frozen pytree of physical numbers that can hold one matrix. All methods are pure and traceable."""

    #: Largest time after programming for which the model has data, in seconds; None without a limit.
    time_limit_s: float | None

    def program(self, key: jax.Array | None, weights: jax.Array) -> Any:
        """Fabricate and write one array.

        Args:
          key: what this array's fabrication and writing are drawn from; None only for a store without randomness.
          weights: normalised matrix in [-1, 1], shape ``[n_in, n_out]``.

        Returns:
          The programmed state, an opaque pytree.
        """
        ...

    def read(self, state: Any, time_s: Any, key: jax.Array | None = None) -> Moments:
        """What the array holds ``time_s`` seconds after programming, in the units of the programmed matrix.

        Without a key: the mean and variance over reads. With a key: one sampled read of every cell, variance None.
        """
        ...

    def noise(self, x: jax.Array, y: jax.Array, state: Any) -> jax.Array | None:
        """Standard deviation of what detection adds at the output, shape of ``y``; None for nothing.

        Args:
          x: normalised inputs in [-1, 1], ``[..., n_in]``.
          y: their product with the stored matrix, ``[..., n_out]``.
          state: as returned by ``program``.
        """
        ...

    def cost(self, weights: jax.Array, mean_square_input: Any) -> tuple[Action, ...]:
        """What one matrix-vector product does, to be priced elsewhere.

        Args:
          weights: normalised matrix in [-1, 1], ``[n_in, n_out]``.
          mean_square_input: mean of the squared normalised input, a number in [0, 1].
        """
        ...

    def cells(self, n_in: int, n_out: int) -> int:
        """How many physical cells hold a matrix of this size."""
        ...
