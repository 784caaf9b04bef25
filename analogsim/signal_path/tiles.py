"""A weight matrix on tiles: cut, scaled, programmed, read.

A matrix ``[n_in, n_out]`` becomes ``[R, C, rows, columns]``: R tiles share the inputs between them and C the outputs.
The cut is even (784 inputs on 512-row tiles are twice 392, not 512 and 272), which wastes the fewest cells, unless the
operator asks for so many rows a tile. Each column of a tile, or each tile, is normalised to [-1, 1] by a digital scale
that the output is multiplied with again. A stack of matrices ``[S, n_in, n_out]`` has tiles for each.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, check_one_value, structure_difference
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError, brief
from analogsim.base.extrapolation import extrapolates
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import clip, scale_of, straight_through
from analogsim.base.units import show_time
from analogsim.converters.ranges import full_scale_of
from analogsim.signal_path.drift_compensation import factors, noisy_readout, readout, written_codes

if TYPE_CHECKING:
    from analogsim.hardware.hardware import Hardware


def grid(n_in: int, n_out: int, hardware: "Hardware", tile_rows: int | None = None) -> tuple[int, int]:
    """How many tiles hold an ``n_in`` x ``n_out`` matrix: (along the inputs, along the outputs).

    ``tile_rows`` is how many rows each tile takes, where the operator asks for that (``Operator.tile_rows``).
    """
    return -(-n_in // (tile_rows or hardware.rows)), -(-n_out // hardware.columns)


def spans(n: int, parts: int) -> list[tuple[int, int]]:
    """The even cut of n rows or columns: from where to where each part goes."""
    size = -(-n // parts)
    return [(i * size, min((i + 1) * size, n)) for i in range(parts)]


def cut(weights: jax.Array, tiles: tuple[int, ...]) -> jax.Array:
    """``[n_in, n_out]`` to ``[R, C, rows, columns]``; what a tile has too many is zero."""
    (n_in, n_out), (r, c) = weights.shape, tiles
    padded = jnp.pad(weights, ((0, -n_in % r), (0, -n_out % c)))
    rows, columns = padded.shape[0] // r, padded.shape[1] // c
    return padded.reshape(r, rows, c, columns).transpose(0, 2, 1, 3)


def cut_inputs(x: jax.Array, r: int) -> jax.Array:
    """``[..., n_in]`` to ``[R, ..., rows]``, zero where a tile has more rows than inputs are left."""
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % r)])
    return jnp.moveaxis(padded.reshape(*x.shape[:-1], r, padded.shape[-1] // r), -2, 0)


def normalise(
    weights: jax.Array, hardware: "Hardware", tile_rows: int | None = None, weight_range: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Tiles of weights in [-1, 1], ``[R, C, rows, columns]``, and their scales ``[R, C, 1, columns or 1]``.

    The largest weight of a column (or tile) takes all of a cell's window. A column of zeros has next to no scale, so
    that neither its cells' noise nor its converter's is heard (``straight_through.scale_of``). With a ``weight_range``
    r it is r times the largest weight that does; for r < 1 the weights beyond it are clipped.
    """
    n_in, n_out = weights.shape
    tiled = cut(weights, grid(n_in, n_out, hardware, tile_rows))
    axes = (-2,) if hardware.scaling == "column" else (-2, -1)
    largest = jnp.max(jnp.abs(tiled), axis=axes, keepdims=True)
    scale = scale_of(largest)
    if weight_range is None:
        return tiled / scale, scale
    scale = scale * jnp.asarray(weight_range, scale.dtype)
    return clip(tiled / scale, 1.0), scale


def ideal_lines(
    hardware: "Hardware", weights: jax.Array, tile_rows: int | None = None, weight_range: Any = None
) -> jax.Array:
    """Lines of perfectly written tiles, ``[R, C, rows, n_lines]``, or of each of a stack of matrices."""
    if weights.ndim > 2:
        return jax.vmap(lambda w: ideal_lines(hardware, w, tile_rows, weight_range))(weights)
    wide = lax.stop_gradient(weights).astype(jnp.promote_types(weights.dtype, jnp.float32))
    return lines_of(hardware, normalise(wide, hardware, tile_rows, weight_range)[0])


def lines_of(hardware: "Hardware", tiled: jax.Array) -> jax.Array:
    """Lines ``[R, C, rows, n_lines]`` of tiles ``[R, C, rows, columns]`` that hold their weights perfectly."""
    return _over_tiles(hardware.store.ideal_lines)(tiled)


#: What no fabricated and written array depends on, beside the name.
_NOT_OF_THE_CHIP = ("training", "training_strength", "prices")


def other_structure(chip: "Hardware", asked: "Hardware") -> str:
    """What sets the hardware of a chip apart from that of a layer, for a message; empty where one serves the other."""
    found = structure_difference(chip, asked, _NOT_OF_THE_CHIP)
    if found is None:
        return ""
    name, *values = found
    held, wanted = map(_in_words, values)
    return f"of another structure ({name}: {held} on the chip, {wanted} in the layer)"


def _in_words(value: Any) -> str:
    if isinstance(value, jax.core.Tracer):
        return "a number"
    return type(value).__name__ if isinstance(value, Description) else brief(value)


def automatic_range(hardware: "Hardware", tiled: jax.Array) -> jax.Array | None:
    """``full_scale_of`` tiles that hold their weights perfectly; None where the ADC has a range, or there is none.

    It belongs to what was written: as cells drift, their lines use less of it.
    """
    if hardware.adc is None or hardware.adc.range is not None:
        return None
    return full_scale_of(lines_of(hardware, tiled))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reading(ByValue):
    """What the tiles of one matrix hold at one time, ready to be multiplied with.

    Attributes:
      hardware: what it is held by; its converters carry the product.
      state: the stores' programmed states, for the noise of detection.
      mean: the readout lines' normalised weights, ``[R, C, rows, n_lines]``, with the slow fluctuations that all reads
        of this reading share.
      variance: from read to read, the same shape; None without.
      curvature: what x|x| and x^3 are multiplied with, ``[R, C, 2, rows, n_lines]``; None for linear cells.
      converters: the fabricated state of every tile's ADCs; None where all are alike.
      gain: digital factor of every line's conversions, ``[R, C, 1, n_lines or 1]``: drift compensation; None for none.
      scale: digital output scale, ``[R, C, 1, columns or 1]``.
      time_s: seconds after programming.
      n_in, n_out: size of the matrix.
      outlasts_steps: whether what varies from read to read is the same in all steps of one product (inputs driven
        slice by slice), or drawn for every step.
      full_scale: the ADCs' range where neither they nor a calibration say one (``automatic_range``); else None.
    """

    hardware: "Hardware"
    state: Any
    mean: jax.Array
    variance: jax.Array | None
    curvature: jax.Array | None
    converters: Any
    gain: jax.Array | None
    scale: jax.Array
    time_s: Any
    n_in: int = dataclasses.field(metadata=dict(static=True))
    n_out: int = dataclasses.field(metadata=dict(static=True))
    outlasts_steps: bool = dataclasses.field(default=False, metadata=dict(static=True))
    full_scale: Any = None

    def __repr__(self) -> str:
        return f"Reading({_size(self, self.mean.shape[:-2])}, {age_in_words(self.time_s)}{_late(self)})"

    def check_single(self, path: str, matrices: int | None) -> None:
        """Refuse the readings of several chips at once, where those of one layer are to be multiplied with.

        ``matrices`` is how many the layer has where it is a stack (``operators.stack``), else None.
        """
        own = 4 if matrices is None else 5
        if self.mean.ndim > own:
            raise InputError(
                f"layer {path}: these readings are a stack of {self.mean.shape[0]}, a layer computes on one; map over "
                f"a stack of chips with jax.vmap(run_one_chip, in_axes=(chips.axes,))(chips)"
            )
        if self.mean.ndim < own or (matrices is not None and self.mean.shape[0] != matrices):
            found = 1 if self.mean.ndim < own else self.mean.shape[0]
            raise InputError(
                f"layer {path}: the chip holds {found} matrices, the layer has {matrices}; program a chip for this "
                f"model"
            )

    def trained_by(self, weights: jax.Array) -> "Reading":
        """The same reading, through which gradients reach ``weights`` as if they were multiplied with directly."""
        intended = cut(weights, self.mean.shape[:2]) / lax.stop_gradient(self.scale)
        # Held: the hardware's own numbers (significance of copies) have their slopes by what the lines hold already.
        store = lax.stop_gradient(self.hardware.store)
        intended = _over_tiles(store.spread)(intended.astype(self.mean.dtype))
        if self.gain is not None:
            intended = intended / lax.stop_gradient(self.gain)
        return dataclasses.replace(self, mean=straight_through(intended, self.mean))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Programmed(ByValue):
    """One matrix as fabricated and written on tiles: every cell's own state, from which any time can be read.

    Attributes:
      hardware: what it was programmed on.
      state: the stores' states, one a tile (leading axes ``[R, C]``).
      converters: the state of every tile's ADCs, likewise; None where all are alike.
      scale: digital scale, ``[R, C, 1, columns or 1]``.
      codes: what was written, 8 bits an entry ``[R, C, rows, n_lines]``, for drift compensation; None for estimators
        that do without.
      reference: readout of every line right after programming, ``[R, C, 1, n_lines]``, for drift compensation.
      fluctuation: two words of 32 bits, ``[2]``, from which and the time is drawn what all reads of a reading share:
        slow fluctuations, and the noise of calibrating reads; None for hardware without.
      n_in, n_out: size of the matrix.
      full_scale: as of ``Reading``.
    """

    hardware: "Hardware"
    state: Any
    converters: Any
    scale: jax.Array
    codes: jax.Array | None
    reference: jax.Array
    fluctuation: jax.Array | None
    n_in: int = dataclasses.field(metadata=dict(static=True))
    n_out: int = dataclasses.field(metadata=dict(static=True))
    full_scale: Any = None

    def __repr__(self) -> str:
        return f"Programmed({_size(self, self.scale.shape[:-2])})"

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def read(self, time_s: Any, compensation: str | None = None, read_noise: bool = True) -> Reading:
        """What the tiles hold ``time_s`` seconds after programming.

        Drift compensation multiplies what a line's converter gives by a factor that restores the readout of the tile
        (``"global"``) or of the line (``"column"``): see ``drift_compensation``. The calibrating reads are
        taken as averaged until their own noise no longer counts (what fluctuates slowly stays in them), or, with
        ``Hardware.calibration_reads``, as noisy as they are, drawn once a chip and time.

        Args:
          time_s: seconds since programming.
          compensation: ``"none"``, ``"global"`` or ``"column"``; None takes the hardware's choice.
          read_noise: False gives the expected readout, without the noise of a read and without slow fluctuations.
        """
        moments = _over_tiles(lambda s: self.hardware.store.read(s, time_s))(self.state)
        mean, variance = self._fluctuating(moments, time_s) if read_noise else (moments.mean, None)
        gain = None
        choice = compensation or self.hardware.drift_compensation
        if choice != "none":
            now = self._readout(mean, variance, time_s) if read_noise else readout(self.hardware, self.codes, mean)
            gain = factors(self.hardware, choice, self.reference, now, -(-self.n_out // mean.shape[1]))
        mean, variance, curvature, gain = _compute_once((mean, variance, moments.curvature, gain))
        return Reading(
            hardware=self.hardware,
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
            outlasts_steps=self.hardware.store.outlasts_steps,
            full_scale=self.full_scale,
        )

    def _fluctuating(self, moments: Any, time_s: Any) -> tuple[jax.Array, jax.Array | None]:
        """What the lines hold in this reading, and the variance that is left from read to read.

        One Gaussian an entry that follows from the chip and the time alone: a reading is the same whenever and beside
        whichever others it is asked for.
        """
        mean, variance = moments.mean, moments.variance
        if variance is None or moments.slow is None or self.fluctuation is None:
            return mean, variance
        xi = normal(self._key(time_s), mean.shape, mean.dtype)
        share = moments.slow[..., None, None].astype(variance.dtype)
        slow = variance * share
        # The slope of a root is infinite at zero, where nothing fluctuates.
        spread = jnp.where(slow > 0, jnp.sqrt(jnp.where(slow > 0, slow, 1.0)), 0.0)
        return mean + spread * xi, variance * (1 - share)

    def _key(self, time_s: Any) -> jax.Array:
        """Of what one reading draws once."""
        assert self.fluctuation is not None
        key = jax.random.wrap_key_data(self.fluctuation, impl="threefry2x32")
        when = lax.bitcast_convert_type(jnp.abs(jnp.asarray(time_s, jnp.float32)), jnp.uint32)  # no minus zero
        return jax.random.fold_in(key, when)

    def _readout(self, mean: jax.Array, variance: jax.Array | None, time_s: Any) -> jax.Array:
        """What the calibrating reads give of every line."""
        if self.hardware.calibration_reads is None:
            return readout(self.hardware, self.codes, mean)
        key = stream(self._key(time_s), "calibrating reads")
        return noisy_readout(self.hardware, self.codes, self.state, mean, variance, key)


def _size(held: "Reading | Programmed", shape: tuple[int, ...]) -> str:
    """The matrix, its tiles ``[..., R, C]`` and its hardware, for ``repr``."""
    *stack, r, c = shape
    several = f"{' x '.join(map(str, stack))} of " if stack else ""
    name = getattr(held.hardware, "name", None)
    return f"{several}{held.n_in} x {held.n_out} on {r} x {c} tiles of {name!r}"


def _late(reading: Reading) -> str:
    return ", extrapolated" if extrapolates(reading.hardware, reading.time_s) else ""


def age_in_words(time_s: Any) -> str:
    """The time after programming, for ``repr``."""
    if isinstance(time_s, jax.core.Tracer) or np.ndim(time_s) != 0:
        return "at several times" if np.ndim(time_s) else "at a traced time"
    return f"at {show_time(float(time_s))}"


def program_all(
    hardware: "Hardware",
    weights: jax.Array,
    key: jax.Array | None,
    onto: Programmed | None = None,
    tile_rows: int | None = None,
    weight_range: Any = None,
) -> Programmed:
    """``program`` for one matrix, or for each of a stack ``[..., n_in, n_out]``, with a key for each."""
    lead = weights.shape[:-2]
    keys = jax.random.split(key, lead) if lead and key is not None else key

    def write(matrix: jax.Array, own_key: jax.Array | None, old: Programmed | None) -> Programmed:
        return program(hardware, matrix, own_key, old, tile_rows=tile_rows, weight_range=weight_range)

    for _ in lead:
        write = jax.vmap(write)
    return write(weights, keys, onto)


def read_all(programmed: Programmed, time_s: Any, compensation: str | None = None, read_noise: bool = True) -> Reading:
    """``Programmed.read`` of one matrix, or of each of a stack: layers of several, scanned layers, chips."""

    def read(held: Programmed) -> Reading:
        return held.read(time_s, compensation, read_noise)

    for _ in range(programmed.scale.ndim - 4):
        read = jax.vmap(read)
    return read(programmed)


@functools.partial(jax.jit, static_argnames="tile_rows")
def program(
    hardware: "Hardware",
    weights: jax.Array,
    key: jax.Array | None,
    onto: Programmed | None = None,
    tile_rows: int | None = None,
    weight_range: Any = None,
) -> Programmed:
    """Fabricate and write the tiles of one matrix ``[n_in, n_out]``. No gradient passes: see ``Reading.trained_by``.

    With ``onto`` these tiles are written again: what was drawn when they were fabricated stays. ``weight_range`` is of
    ``normalise``.
    """
    check_one_value(hardware)
    if onto is not None and (onto.n_in, onto.n_out) != weights.shape:
        raise InputError(
            f"onto: the chip holds a {onto.n_in} x {onto.n_out} matrix, the layer's is {weights.shape[0]} x "
            f"{weights.shape[1]}; only a chip of the same model is written again"
        )
    if onto is not None and (difference := other_structure(onto.hardware, hardware)):
        raise InputError(
            f"onto: the chip is made of hardware '{onto.hardware.name}', the layer is on '{hardware.name}' "
            f"{difference}; only a chip of the same hardware is written again"
        )
    wide = jnp.promote_types(weights.dtype, jnp.float32)
    tiled, scale = normalise(lax.stop_gradient(weights).astype(wide), hardware, tile_rows, weight_range)
    store = hardware.store
    old = () if onto is None else (onto.state,)  # a store without anything fabricated need not know of it
    if key is None:
        state = _over_tiles(lambda w, *s: store.program(None, w, *s))(tiled, *old)
    else:
        n_tiles = tiled.shape[0] * tiled.shape[1]
        if n_tiles == 1:  # the key as it is: no second vmap around a single tile
            first = jax.tree.map(lambda a: a[0, 0], (tiled, *old))
            state = jax.tree.map(lambda a: a[None, None], store.program(stream(key, "tile 0"), *first))
        else:
            keys = jnp.stack([stream(key, f"tile {i}") for i in range(n_tiles)]).reshape(tiled.shape[:2])
            state = _over_tiles(store.program)(keys, tiled, *old)
    state = _compute_once(state)
    fresh = _over_tiles(lambda s: store.read(s, 0.0))(state)
    converters = fabricated(hardware, key, fresh.mean.shape) if onto is None else onto.converters
    noisy = hardware.calibration_reads is not None
    if noisy and key is None:
        raise InputError("key = None: calibrating reads draw noise, pass a key (jax.random.key(0))")
    fluctuation = None
    if key is not None and (noisy or (fresh.slow is not None and fresh.variance is not None)):
        # Numbers, not a key: as they are in a checkpoint, whatever generator the key is of.
        fluctuation = jax.random.bits(stream(key, "slow fluctuations"), (2,), jnp.uint32)
    codes = written_codes(hardware, lines_of(hardware, tiled))
    reference = readout(hardware, codes, fresh.mean)
    n_in, n_out = weights.shape
    full_scale = automatic_range(hardware, tiled)
    held = Programmed(hardware, state, converters, scale, codes, reference, fluctuation, n_in, n_out, full_scale)
    if not noisy:
        return held
    mean, variance = held._fluctuating(fresh, 0.0)
    own = stream(held._key(0.0), "calibrating reads after programming")  # not those of a reading at time zero
    return dataclasses.replace(held, reference=noisy_readout(hardware, codes, state, mean, variance, own))


def fabricated(hardware: "Hardware", key: jax.Array | None, shape: tuple[int, ...]) -> Any:
    """The fabricated ADCs of tiles ``[R, C, rows, n_lines]``; None where there are none or all are alike."""
    r, c, _, lines = shape
    if hardware.adc is None:
        return None
    if key is None:  # refused by converters that differ
        return hardware.adc.fabricate(None, lines)
    keys = jax.random.split(stream(key, "converters"), (r, c))
    return _over_tiles(lambda k: hardware.adc.fabricate(k, lines))(keys)


def _compute_once(values: Any) -> Any:
    """What has several uses and costs random numbers or powers: without the barrier XLA computes it anew for each."""
    return lax.optimization_barrier(values)


def _over_tiles(function):
    return jax.vmap(jax.vmap(function))
