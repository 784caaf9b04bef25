"""A weight matrix on tiles: fabricate, program, and read at any time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.compiled import compiled
from analogsim.base.description import check_one_value
from analogsim.base.dtypes import wide
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.extrapolation import extrapolates
from analogsim.base.random import key_of_words, normal, split, stream, words_of
from analogsim.base.types import Numeric, PyTree
from analogsim.converters.ranges import full_scale_of
from analogsim.signal_path.drift_compensation import factors, noisy_readout, readout, written_codes
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.reading import Reading, age_in_words, name_in_words, other_structure, size_in_words
from analogsim.signal_path.tiling import normalise, over_tiles

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int8, UInt32

    Columns = Float[Array, "R C rows n_columns"]
    Tiles = Float[Array, "R C rows columns"]
    Readout = Float[Array, "R C 1 n_columns"]


def ideal_columns(
    hardware: TileHardware,
    weights: Float[Array, "*stack n_in n_out"],
    tile_rows: int | None = None,
    weight_range: Any = None,
) -> Float[Array, "*stack R C rows n_columns"]:
    """Return the column weights of ideally programmed tiles, ``[R, C, rows, n_columns]``; also for a stack."""
    if weights.ndim > 2:
        return jax.vmap(lambda w: ideal_columns(hardware, w, tile_rows, weight_range))(weights)
    return columns_of_tiles(hardware, normalise(wide(lax.stop_gradient(weights)), hardware, tile_rows, weight_range)[0])


def columns_of_tiles(hardware: TileHardware, tiled: Tiles) -> Columns:
    """Return the ideal column weights ``[R, C, rows, n_columns]`` of tiles ``[R, C, rows, columns]``."""
    return over_tiles(hardware.store.ideal_columns)(tiled)


def automatic_range(hardware: TileHardware, tiled: Tiles) -> Float[Array, ""] | None:
    """Return ``full_scale_of`` ideal tiles; None if the ADC has its own range, or there is no ADC.

    The range is fixed at programming: as cells drift, their columns use less of it.
    """
    if hardware.adc is None or hardware.adc.range is not None:
        return None
    return full_scale_of(columns_of_tiles(hardware, tiled))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProgrammedTiles(ByValue):
    """One matrix fabricated and programmed on tiles: the state of every cell, which can be read at any time.

    Returned by ``program``.

    Attributes:
      hardware: the hardware of the tiles.
      state: the stores' states, one per tile (leading axes ``[R, C]``).
      converters: the state of every tile's ADCs, likewise; None if all are alike.
      scale: digital scale, ``[R, C, 1, columns or 1]``.
      codes: what was written, 8 bits an entry ``[R, C, rows, n_columns]``, for drift compensation; None for estimators
        that do without.
      reference: readout of every line right after programming, ``[R, C, 1, n_columns]``, for drift compensation.
      fluctuation: two words of 32 bits, ``[2]``, from which and the time is drawn what all reads of a reading share:
        slow fluctuations, and the noise of calibrating reads; None for hardware without.
      n_in, n_out: size of the matrix.
      full_scale: as of ``Reading``.

    Example:
      >>> from analogsim import Hardware
      >>> program(Hardware(rows=2), jnp.eye(4), None).read(3600.0)
      Reading(4 x 4 on 2 x 1 tiles, at 1 h)
    """

    hardware: TileHardware
    state: PyTree
    converters: Any
    scale: Float[Array, "R C 1 _"]
    codes: Int8[Array, "R C rows n_columns"] | None
    reference: Readout
    fluctuation: UInt32[Array, 2] | None
    n_in: int = dataclasses.field(metadata=dict(static=True))
    n_out: int = dataclasses.field(metadata=dict(static=True))
    full_scale: Any = None

    def __repr__(self) -> str:
        return f"ProgrammedTiles({size_in_words(self, self.scale.shape[:-2])}{name_in_words(self.hardware)})"

    @compiled(static=("compensation", "read_noise"))
    def read(self, time_s: Numeric, compensation: str | None = None, read_noise: bool = True) -> Reading:
        """Return the reading of the tiles ``time_s`` seconds after programming.

        Drift compensation multiplies the converted columns by a factor that restores the readout of the tile
        (``"global"``) or of the column (``"column"``); see ``drift_compensation``. The calibration reads are averaged
        until their noise is negligible (slow fluctuations stay in them), or, with ``Hardware.calibration_reads``, have
        their real noise, drawn once per chip and time.

        Args:
          time_s: seconds after programming.
          compensation: ``"none"``, ``"global"`` or ``"column"``; None uses the hardware's choice.
          read_noise: False gives the expected reading, without read noise and slow fluctuations.
        """
        moments = over_tiles(lambda s: self.hardware.store.read(s, time_s))(self.state)
        mean, variance = self._fluctuating(moments, time_s) if read_noise else (moments.mean, None)
        gain = None
        choice = compensation or self.hardware.drift_compensation
        if choice != "none":
            now = self._readout(mean, variance, time_s) if read_noise else readout(self.hardware, self.codes, mean)
            gain = factors(self.hardware, choice, self.reference, now, -(-self.n_out // mean.shape[1]))
        mean, variance, curvature, gain = _compute_once((mean, variance, moments.curvature, gain))
        return Reading(
            state=self.state,
            mean=mean,
            variance=variance,
            curvature=curvature,
            converters=self.converters,
            gain=gain,
            scale=self.scale,
            time_s=time_s,
            n_in=self.n_in,
            n_out=self.n_out,
            noise_persists=self.hardware.store.noise_persists,
            full_scale=self.full_scale,
        )

    def _fluctuating(self, moments: Any, time_s: Numeric) -> tuple[Columns, Columns | None]:
        """Return the mean of the columns in this reading, and the remaining variance from read to read.

        The slow part is one Gaussian number per entry, a function of chip and time only, so that a reading does not
        depend on when or with which other readings it is requested.
        """
        mean, variance = moments.mean, moments.variance
        if variance is None or moments.slow is None or self.fluctuation is None:
            return mean, variance
        xi = normal(self._key(time_s), mean.shape, mean.dtype)
        fraction = moments.slow[..., None, None].astype(variance.dtype)
        slow = variance * fraction
        # The gradient of a root is infinite at zero, where nothing fluctuates.
        spread = jnp.where(slow > 0, jnp.sqrt(jnp.where(slow > 0, slow, 1.0)), 0.0)
        return mean + spread * xi, variance * (1 - fraction)

    def _key(self, time_s: Numeric) -> jax.Array:
        """Return the key of the random numbers that one reading draws once."""
        assert self.fluctuation is not None
        key = key_of_words(self.fluctuation)
        # The bits of the time, as fold_in takes integers; in float32 also under x64, which must not change the reading.
        when = lax.bitcast_convert_type(jnp.abs(jnp.asarray(time_s, jnp.float32)), jnp.uint32)  # no minus zero
        return jax.random.fold_in(key, when)

    def _readout(self, mean: Columns, variance: Columns | None, time_s: Numeric) -> Readout:
        """Return the calibration readout of every column."""
        if self.hardware.calibration_reads is None:
            return readout(self.hardware, self.codes, mean)
        key = stream(self._key(time_s), "calibrating reads")
        return noisy_readout(self.hardware, self.codes, self.state, mean, variance, key)


def program_all(
    hardware: TileHardware,
    weights: Float[Array, "*stack n_in n_out"],
    key: jax.Array | None,
    reprogram: ProgrammedTiles | None = None,
    tile_rows: int | None = None,
    weight_range: Any = None,
) -> ProgrammedTiles:
    """Apply ``program`` to one matrix, or to every matrix of a stack ``[..., n_in, n_out]`` with separate keys."""
    lead = weights.shape[:-2]
    keys = split(key, lead) if lead and key is not None else key

    def write(matrix: jax.Array, own_key: jax.Array | None, old: ProgrammedTiles | None) -> ProgrammedTiles:
        return program(hardware, matrix, own_key, old, tile_rows=tile_rows, weight_range=weight_range)

    # Mapping also repeats the hardware's numbers along the stack; ``layers.layer`` takes the first of them.
    for _ in lead:
        write = jax.vmap(write)
    return write(weights, keys, reprogram)


def read_all(
    programmed: ProgrammedTiles, time_s: Numeric, compensation: str | None = None, read_noise: bool = True
) -> Reading:
    """Apply ``ProgrammedTiles.read`` to one matrix, or to every matrix of a stack (groups, scanned layers, chips)."""

    def read(cells: ProgrammedTiles) -> Reading:
        return cells.read(time_s, compensation, read_noise)

    for _ in range(programmed.scale.ndim - 4):
        read = jax.vmap(read)
    return read(programmed)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ChipArray(ByValue):
    """The part of a chip that belongs to one layer, a leaf of ``Chip.readings``. Returned by ``ChipArray.read``.

    Attributes:
      hardware: the hardware that its tiles were programmed on.
      reading: the reading of the tiles at the chip's age.
    """

    hardware: TileHardware
    reading: Reading

    @classmethod
    def read(cls, cells: ProgrammedTiles, time_s: Numeric, compensation: str | None = None, read_noise: bool = True):
        """Read one matrix, or every matrix of a stack; arguments as in ``ProgrammedTiles.read``."""
        return cls(cells.hardware, read_all(cells, time_s, compensation, read_noise))

    def __repr__(self) -> str:
        late = ", extrapolated" if extrapolates(self.hardware, self.reading.time_s) else ""
        size = size_in_words(self.reading, self.reading.mean.shape[:-2])
        return f"ChipArray({size}{name_in_words(self.hardware)}, {age_in_words(self.reading.time_s)}{late})"


@compiled(static=("tile_rows",))
def program(
    hardware: TileHardware,
    weights: Float[Array, "n_in n_out"],
    key: jax.Array | None,
    reprogram: ProgrammedTiles | None = None,
    tile_rows: int | None = None,
    weight_range: Any = None,
) -> ProgrammedTiles:
    """Fabricate and program the tiles of one matrix. No gradient passes; see ``Reading.trained_by``.

    Args:
      hardware: the hardware of the tiles.
      weights: ``[n_in, n_out]``.
      key: random key; None only if programming draws nothing.
      reprogram: existing tiles to program again; their fabrication errors stay. None fabricates new tiles.
      tile_rows: rows per tile if the operator requires them (``Operator.tile_rows``).
      weight_range: as in ``normalise``.

    Returns:
      The programmed tiles.

    Raises:
      InputError: if ``reprogram`` has another size or hardware structure, or a key is required and missing.

    Example:
      >>> from analogsim import Hardware
      >>> program(Hardware(name="mine", rows=2), jnp.eye(4), None)
      ProgrammedTiles(4 x 4 on 2 x 1 tiles of 'mine')
    """
    check_one_value(hardware)
    if reprogram is not None and (reprogram.n_in, reprogram.n_out) != weights.shape:
        raise InputError(
            f"reprogram: the chip holds a {reprogram.n_in} x {reprogram.n_out} matrix, the layer's is "
            f"{weights.shape[0]} x {weights.shape[1]}; must be a chip of the same model"
        )
    if reprogram is not None and (difference := other_structure(reprogram.hardware, hardware)):
        raise InputError(
            f"reprogram: the chip is made of hardware '{reprogram.hardware.name}', the layer is on '{hardware.name}' "
            f"{difference}; only a chip of the same hardware can be reprogrammed"
        )
    tiled, scale = normalise(wide(lax.stop_gradient(weights)), hardware, tile_rows, weight_range)
    store = hardware.store
    old = () if reprogram is None else (reprogram.state,)  # a store without anything fabricated need not know of it
    if key is None:
        state = over_tiles(lambda w, *s: store.program(None, w, *s))(tiled, *old)
    else:
        n_tiles = tiled.shape[0] * tiled.shape[1]
        if n_tiles == 1:  # without vmap: a single tile needs no second batch axis
            first = jax.tree.map(lambda a: a[0, 0], (tiled, *old))
            state = jax.tree.map(lambda a: a[None, None], store.program(split(stream(key, "tiles"), 1)[0], *first))
        else:
            keys = split(stream(key, "tiles"), n_tiles).reshape(tiled.shape[:2])
            state = over_tiles(store.program)(keys, tiled, *old)
    state = _compute_once(state)
    fresh = over_tiles(lambda s: store.read(s, 0.0))(state)
    converters = fabricated(hardware, key, fresh.mean.shape) if reprogram is None else reprogram.converters
    noisy = hardware.calibration_reads is not None
    if noisy and key is None:
        raise InputError("key = None: calibrating reads draw noise, pass a key (jax.random.key(0))")
    fluctuation = None
    if key is not None and (noisy or (fresh.slow is not None and fresh.variance is not None)):
        # Raw numbers instead of a key, so that a checkpoint holds them whichever generator the key belongs to.
        fluctuation = words_of(stream(key, "slow fluctuations"))
    codes = written_codes(hardware, columns_of_tiles(hardware, tiled))
    reference = readout(hardware, codes, fresh.mean)
    n_in, n_out = weights.shape
    full_scale = automatic_range(hardware, tiled)
    written = ProgrammedTiles(
        hardware, state, converters, scale, codes, reference, fluctuation, n_in, n_out, full_scale
    )
    if not noisy:
        return written
    mean, variance = written._fluctuating(fresh, 0.0)
    key = stream(written._key(0.0), "calibrating reads after programming")  # not those of a reading at time zero
    return dataclasses.replace(written, reference=noisy_readout(hardware, codes, state, mean, variance, key))


def fabricated(hardware: TileHardware, key: jax.Array | None, shape: tuple[int, ...]) -> Any:
    """Return the fabricated ADCs of tiles ``[R, C, rows, n_columns]``; None if there are none or all are alike."""
    r, c, _, lines = shape
    if hardware.adc is None:
        return None
    if key is None:  # refused by converters that differ
        return hardware.adc.fabricate(None, lines)
    keys = split(stream(key, "converters"), (r, c))
    return over_tiles(lambda k: hardware.adc.fabricate(k, lines))(keys)


def _compute_once(values: Any) -> Any:
    """Keep XLA from recomputing random numbers and powers for every use: it duplicates them without the barrier."""
    return lax.optimization_barrier(values)
