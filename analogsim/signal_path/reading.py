"""The reading of the tiles of one matrix at one time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from analogsim.base.description import Description, structure_difference
from analogsim.base.dtypes import wide
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError, brief
from analogsim.base.straight_through import straight_through
from analogsim.base.types import Numeric, PyTree
from analogsim.base.units import show_time
from analogsim.devices.protocol import WeightStore
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.tiling import cut, over_tiles

if TYPE_CHECKING:
    from jaxtyping import Array, Float


#: Fields that no fabricated and programmed array depends on, besides the name.
_NOT_OF_THE_CHIP = ("training", "training_noise_scale", "energy_table")


def other_structure(chip: TileHardware, asked: TileHardware) -> str:
    """Describe the structural difference of a chip's and a layer's hardware for a message; empty if compatible."""
    difference = structure_difference(chip, asked, _NOT_OF_THE_CHIP)
    if difference is None:
        return ""
    name, *values = difference
    on_chip, in_layer = map(_in_words, values)
    return f"of another structure ({name}: {on_chip} on the chip, {in_layer} in the layer)"


def _in_words(value: Any) -> str:
    if isinstance(value, jax.core.Tracer):
        return "a number"
    return type(value).__name__ if isinstance(value, Description) else brief(value)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reading(ByValue):
    """The arrays of the tiles of one matrix at one time, ready for products, without their hardware.

    Returned by ``ProgrammedTiles.read``, which has an example.

    Attributes:
      state: the stores' programmed states, for the noise of detection.
      mean: the readout lines' normalised weights, ``[R, C, rows, n_columns]``, with the slow fluctuations that all
        reads of this reading share.
      variance: from read to read, the same shape; None without.
      curvature: what x|x| and x^3 are multiplied with, ``[R, C, 2, rows, n_columns]``; None for linear cells.
      converters: the fabricated state of every tile's ADCs; None where all are alike.
      gain: digital factor of every line's conversions, ``[R, C, 1, n_columns or 1]``: drift compensation; None for
        none.
      scale: digital output scale, ``[R, C, 1, columns or 1]``.
      time_s: seconds after programming.
      n_in, n_out: size of the matrix.
      noise_persists: whether what varies from read to read is the same in all steps of one product (inputs driven
        slice by slice), or drawn for every step.
      full_scale: the ADCs' range where neither they nor a calibration say one (``automatic_range``); else None.
    """

    state: PyTree
    mean: Float[Array, "R C rows n_columns"]
    variance: Float[Array, "R C rows n_columns"] | None
    curvature: Float[Array, "R C 2 rows n_columns"] | None
    converters: Any
    gain: Float[Array, "R C 1 _"] | None
    scale: Float[Array, "R C 1 _"]
    time_s: Numeric
    n_in: int = dataclasses.field(metadata=dict(static=True))
    n_out: int = dataclasses.field(metadata=dict(static=True))
    noise_persists: bool = dataclasses.field(default=False, metadata=dict(static=True))
    full_scale: Any = None

    def __repr__(self) -> str:
        return f"Reading({size_in_words(self, self.mean.shape[:-2])}, {age_in_words(self.time_s)})"

    def check_single(self, path: str, matrices: int | None) -> None:
        """Raise ``InputError`` if this is a stack of readings of several chips instead of one layer's reading.

        ``matrices`` is the number of matrices of a layer that is a stack (``operators.stack``), else None.
        """
        axes = 4 if matrices is None else 5
        if self.mean.ndim > axes:
            raise InputError(
                f"layer {path}: these readings are a stack of {self.mean.shape[0]}, a layer computes on one; map over "
                f"a stack of chips with jax.vmap(run_one_chip, in_axes=(chips.axes,))(chips)"
            )
        if self.mean.ndim < axes or (matrices is not None and self.mean.shape[0] != matrices):
            n_held = 1 if self.mean.ndim < axes else self.mean.shape[0]
            raise InputError(
                f"layer {path}: the chip holds {n_held} matrices, the layer has {matrices}; program a chip for this "
                f"model"
            )

    def trained_by(self, weights: Float[Array, "n_in n_out"], store: WeightStore) -> Reading:
        """Return the same reading with a straight-through gradient to ``weights``.

        Args:
          weights: the matrix ``[n_in, n_out]``.
          store: its ``WeightStore``.
        """
        # Outputs are multiplied by scale and gain again. Divided by both, a weight has the derivative x at any age.
        intended = wide(cut(weights, self.mean.shape[:2])) / lax.stop_gradient(self.scale)
        # Stopped: the gradients of the store's parameters (significance of copies) already flow through ``mean``.
        intended = over_tiles(lax.stop_gradient(store).to_columns)(intended.astype(self.mean.dtype))
        if self.gain is not None:
            intended = intended / lax.stop_gradient(self.gain)
        return dataclasses.replace(self, mean=straight_through(intended, self.mean))


def size_in_words(matrix: Any, shape: tuple[int, ...]) -> str:
    """Describe a matrix ``n_in`` x ``n_out`` and its tiles ``[..., R, C]`` for ``repr``."""
    *stack, r, c = shape
    several = f"{' x '.join(map(str, stack))} of " if stack else ""
    return f"{several}{matrix.n_in} x {matrix.n_out} on {r} x {c} tiles"


def name_in_words(hardware: TileHardware) -> str:
    """Describe the name of hardware for ``repr``; a tree of axes or shapes may have none."""
    return f" of {getattr(hardware, 'name', None)!r}"


def age_in_words(time_s: Numeric) -> str:
    """Describe the time after programming for ``repr``."""
    if isinstance(time_s, jax.core.Tracer) or np.ndim(time_s) != 0:
        return "at several times" if np.ndim(time_s) else "at a traced time"
    return f"at {show_time(float(time_s))}"
