"""Chips: one model's weights on fabricated, programmed and ageing hardware.

chip = program(model, variables, key, x)          # writes every cell once, draws its drift once
chip.at("1 year").variables                       # the variables for model.apply one year after programming
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from analogsim.base.call_inputs import inputs_of, no_arrays
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.description import check_numbers
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError, nearest
from analogsim.base.extrapolation import extrapolates
from analogsim.base.processes import all_finite, whole
from analogsim.base.random import check_key, chip_key, is_key, key_shape
from analogsim.base.types import PyTree
from analogsim.base.units import seconds, show_time
from analogsim.models.bound import bind, leaves_of, map_programmed, program_jit, program_many_jit, programmed_leaves
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.reading import age_in_words

COMPENSATIONS = ("none", "global", "column")

_LATEST_S = 1e12  # about 30,000 years, beyond the meaning of any drift model


class LayerWriteStatistics(NamedTuple):
    """Statistics of programming one layer with program-and-verify (``Crossbar.write_verify``), over a stack of chips.

    Attributes:
      path: path of the layer.
      cells: number of programmed cells.
      pulses: total number of write pulses. A verifying read follows each one, and one read precedes the first.
      mean_pulses: write pulses per cell.
      accepted: fraction of cells that ended within the acceptance window; stuck cells rarely do.
      energy_j: energy of the pulses (J); None if ``EnergyTable.write_pulse_j`` is None.
    """

    path: str
    cells: int
    pulses: int
    mean_pulses: float
    accepted: float
    energy_j: float | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Chip(ByValue):
    """One fabricated and programmed instance of a model's hardware, read at one time. A pytree.

    Returned by ``program``; for keys ``[n_chips]`` as a stack of chips, with ``n_chips`` leading in cells and readings.

    Attributes:
      cells: programmed tiles of every layer: the state of each cell, which does not change after programming.
      readings: readings of the tiles at ``time_s``.
      digital: the model's other variables (biases, normalisation, ranges); None for NNX models, which hold theirs.
      time_s: time of the reading, in seconds after programming.

    Example:
      >>> import jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("ideal")), jnp.ones((2, 4))
      >>> keys = jax.random.split(jax.random.key(1), 5)
      >>> chips = program(layer, layer.init(jax.random.key(0), x), keys, x)
      >>> jax.vmap(lambda chip: layer.apply(chip.variables, x), in_axes=(chips.axes,))(chips).shape
      (5, 2, 3)
    """

    cells: PyTree
    readings: PyTree
    digital: Any
    time_s: Any

    def __repr__(self) -> str:
        """Return one line with layers, weights and tiles (summed over a stack), hardware and age."""
        programmed = programmed_leaves(self.cells)
        if not programmed or not all(
            isinstance(getattr(matrix, "scale", None), (jax.Array, np.ndarray)) for _, matrix in programmed
        ):
            return super().__repr__()  # JAX builds chips of axes, shapes or placeholders, too
        names = dict.fromkeys(repr(matrix.hardware.name) for _, matrix in programmed)
        n_weights = sum(matrix.n_in * matrix.n_out * math.prod(matrix.scale.shape[:-4]) for _, matrix in programmed)
        n_tiles = sum(math.prod(matrix.scale.shape[:-2]) for _, matrix in programmed)
        late = any(extrapolates(_one_hardware(matrix), self.time_s) for _, matrix in programmed)
        return (
            f"Chip({len(programmed)} {'layer' if len(programmed) == 1 else 'layers'}, {n_weights:,} weights on "
            f"{n_tiles:,} {'tile' if n_tiles == 1 else 'tiles'} of {', '.join(names)}, {age_in_words(self.time_s)}"
            f"{', extrapolated' if late else ''})"
        )

    @property
    def variables(self) -> dict[str, Any]:
        """Variables for a Linen model: ``model.apply(chip.variables, x, rngs={"analog": key})``.

        Raises:
          InputError: for a chip of an NNX model.
        """
        if self.digital is None:
            raise InputError("this chip belongs to an NNX model: use analogsim.nnx.on_chip(model, chip)")
        return {**self.digital, "analog": self.readings}

    @property
    def axes(self) -> "Chip":
        """``in_axes`` for a stack of chips: cells and readings are mapped over, the rest is shared.

        ``jax.vmap(lambda chip: model.apply(chip.variables, x, rngs=...), in_axes=(chips.axes,))(chips)``
        """
        return Chip(cells=0, readings=0, digital=None, time_s=None)

    @property
    def write_statistics(self) -> tuple[LayerWriteStatistics, ...]:
        """Statistics of every layer programmed with program-and-verify, in the model's order; empty without one."""
        statistics = []
        for path, programmed in programmed_leaves(self.cells):
            state = programmed.state
            if getattr(state, "pulses", None) is None:
                continue
            pulses, accepted = (whole(a).astype(np.float64) for a in (state.pulses, state.accepted))
            hardware: Any = programmed.hardware  # a full Hardware; TileHardware omits the energy table
            pulse_j = hardware.energy_table.write_pulse_j
            energy_j = None if pulse_j is None else _energy_j(pulses, np.asarray(pulse_j, np.float64))
            fraction = float(accepted.mean())
            statistics.append(
                LayerWriteStatistics(path, pulses.size, int(pulses.sum()), float(pulses.mean()), fraction, energy_j)
            )
        return tuple(statistics)

    def at(self, time: Any, compensation: str | None = None, read_noise: bool = True) -> "Chip":
        """Return the same chip, read at another time.

        Times may come in any order, because reading does not change the cells. Slow fluctuations are drawn once per
        chip and time: two readings of a chip at the same time are equal.

        Args:
          time: time after programming: seconds, a traced number, or a string such as ``"1 day"``.
          compensation: drift compensation: ``"none"``, ``"global"`` (one digital factor per tile) or ``"column"`` (one
            per column); None uses the hardware's setting.
          read_noise: False reads expected values, without read noise.

        Raises:
          InputError: if the time is negative, not finite or later than the data of the store's model, the compensation
            is unknown, or wire resistances cannot be solved.
        """
        if not isinstance(read_noise, (bool, np.bool_)):
            raise InputError(f"read_noise = {read_noise!r}: must be True or False")
        time_s = check_time(time, self.cells)
        check_compensation(compensation)
        # Compiled code cannot raise: numbers are checked before it runs, and whether wires were solved after it.
        check_hardware(self.cells)
        readings = read(self.cells, time_s, compensation, bool(read_noise))
        check_solved(readings)
        return dataclasses.replace(self, readings=readings, time_s=time_s)


def program(
    model: Any,
    variables: PyTree = None,
    key: Any = None,
    x: Any = None,
    *,
    reprogram: Chip | None = None,
    **options: Any,
) -> Chip:
    """Fabricate a chip for a model and program its weights; the chip can then be read at any time.

    Args:
      model: a Linen or NNX model with analog layers.
      variables: the variables of a Linen model; None for NNX.
      key: one random key for one chip, or an array of keys ``[n_chips]`` for a stack of chips, over which
        ``jax.vmap(..., in_axes=(chips.axes,))`` maps.
      x: inputs of one call (``analogsim.Inputs``: an array, a tuple for several, any pytree). Only the shapes are used,
        and ``variables`` from ``calibrate`` hold them already. Without ``x``, an NNX model is programmed with the
        kernels that its layers hold; with ``x``, with the kernels that they multiply by. Layers that compute their
        kernel (``nnx.WeightNorm``, ``nnx.SpectralNorm``, subclasses with a custom call) raise an error without ``x``; a
        module that puts another kernel into a plain layer during the call needs it, too.
      reprogram: a chip of this model to program again: stuck cells and the cells' scales stay, everything that
        programming draws is drawn anew, and the age restarts at zero. A stack of chips takes as many keys.
      **options: keyword arguments of the model's call, for example ``train=False``; those with arrays count as inputs.

    Returns:
      The chip at time zero, right after programming.

    Raises:
      InputError: if the model has no analog layer, a weight is NaN or infinite, a number of the hardware is out of
        range, the keys are not one key or ``[n_chips]``, or ``reprogram`` is a chip of another model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> chip = program(layer, layer.init(jax.random.key(0), x), jax.random.key(1), x)
      >>> chip.at("1 year")
      Chip(1 layer, 12 weights on 1 tile of 'pcm', at 1 year)
      >>> layer.apply(chip.at("1 year").variables, x, rngs={"analog": jax.random.key(2)}).shape
      (2, 3)
    """
    _check_program_keys(variables, key)
    if reprogram is not None and not isinstance(reprogram, Chip):
        raise InputError(f"reprogram = {type(reprogram).__name__}: must be a chip of this model, or None")
    if x is not None:
        x, options = inputs_of(x, options)
    bound = bind(model, variables, x, no_arrays(options))
    cells = (program_jit if key_shape(key) == () else program_many_jit)(
        bound, key, None if reprogram is None else reprogram.cells
    )
    if not programmed_leaves(cells):
        raise InputError(NO_ANALOG_LAYER)
    check_finite(cells)
    _, digital = bound.unbind()
    readings = read(cells, 0.0, None, True)
    check_solved(readings)
    return Chip(cells, readings, digital, 0.0)


def unwritten(cells: PyTree) -> PyTree:
    """Return programmed tiles without their cells: what ``check_finite`` needs.

    A compiled function that returns only this draws nothing and writes no cell, because XLA removes what is not used.
    """
    empty = dict(state=None, converters=None, codes=None, reference=None, fluctuation=None)
    return map_programmed(lambda tiles: dataclasses.replace(tiles, **empty), cells)


@jax.jit
def first_chip(bound: Any, key: jax.Array) -> PyTree:
    """Return ``unwritten`` tiles of chip 0 of an evaluation or sweep with this key."""
    return unwritten(bound.program(chip_key(key, 0)))


@functools.partial(jax.jit, static_argnums=(2, 3))
def read(cells: PyTree, time_s: Any, compensation: str | None, read_noise: bool) -> Any:
    """Read a tree of ``ProgrammedTiles`` (stacks, too) as a tree of ``ChipArray``, ``time_s`` after programming.

    Args:
      cells: the tree, as in ``Chip.cells``.
      time_s: time after programming, seconds; may be traced.
      compensation: drift compensation, as in ``Chip.at``; None for the hardware's setting.
      read_noise: whether reads vary.

    Returns:
      The tree of readings. Nothing is checked, in contrast to ``Chip.at``.

    Example:
      >>> from analogsim import preset, signal_path
      >>> tiles = signal_path.program(preset("ideal"), jax.numpy.eye(4), None)
      >>> read({"layer": tiles}, 3600.0, None, True)
      {'layer': ChipArray(4 x 4 on 1 x 1 tiles of 'ideal', at 1 h)}
    """
    return map_programmed(lambda tiles: ChipArray.read(tiles, time_s, compensation, read_noise), cells)


def _check_program_keys(variables: PyTree, key: Any) -> None:
    if is_key(variables):
        raise InputError(
            "variables: must not be a random key; the order is program(model, variables, key, x), or "
            "program(model, key=key) for an NNX model"
        )
    check_key(key)
    if len(key_shape(key)) > 1 or key_shape(key) == (0,):
        raise InputError(
            f"key: an array of keys of shape {key_shape(key)}: must be one key, or a row of n_chips keys, for example "
            f"jax.random.split(key, 3)"
        )


def check_time(time: Any, cells: PyTree) -> Any:
    """Return a time in seconds after checking it against the stores of ``cells``; a traced time is not checked.

    Raises:
      InputError: if it is not one time, negative, above 1e12 s, or later than the data of a store's model.
    """
    time_s: Any = seconds(time, "time")
    if np.ndim(time_s) != 0:
        raise InputError(
            f"time = array of shape {np.shape(time_s)}: a chip is read at one time; for several, use "
            f"evaluate(times=...) or jax.vmap over chip.at"
        )
    if not isinstance(time_s, jax.core.Tracer) and float(time_s) > _LATEST_S:
        raise InputError(
            f"time = {float(time_s):g}: must be at most {_LATEST_S:g}, that is {show_time(_LATEST_S)} "
            f"(unit: s after programming)"
        )
    for path, programmed in programmed_leaves(cells):
        _one_hardware(programmed).check_time(time_s, f"layer {path}: time")
    return time_s


def check_age(time_s: Any, cells: PyTree, where: str) -> None:
    """Check the ages of a chip or of a stack of chips from a file; ``where`` names them in the error message."""
    if isinstance(time_s, (jax.core.Tracer, jax.ShapeDtypeStruct)):
        return
    ages = np.ravel(np.asarray(seconds(time_s, where)))
    if ages.size:
        check_time(float(ages.max()), cells)


def _one_hardware(programmed: ProgrammedTiles) -> Any:
    """Return the hardware of one matrix: vmap repeats the numbers of the hardware for every matrix of a stack."""
    first = (0,) * (programmed.scale.ndim - 4)
    return jax.tree.map(lambda a: a[first], programmed.hardware) if first else programmed.hardware


def _energy_j(pulses: np.ndarray, pulse_j: np.ndarray) -> float:
    """Return the energy (J) of pulses ``[*stack, ...]`` at ``pulse_j`` joules per pulse, ``[]`` or ``[*stack]``."""
    per_matrix = pulses.sum(axis=tuple(range(pulse_j.ndim, pulses.ndim)))
    return float((per_matrix * pulse_j).sum())


def check_hardware(cells: PyTree) -> None:
    """Raise ``InputError`` if a number of the hardware is out of range, which compiled code cannot check."""
    for path, programmed in programmed_leaves(cells):
        check_numbers(programmed.hardware, f"layer {path}: ")


def check_solved(readings: PyTree) -> None:
    """Raise ``InputError`` for NaN in readings: stores return it if their network of wires was not solved."""
    for path, array in leaves_of(ChipArray, readings):
        mean = array.reading.mean
        if not array.hardware.store.has_wires or isinstance(mean, jax.core.Tracer):
            continue
        if not all_finite(mean):
            raise InputError(
                f"layer {path}: the network of wire resistances was not solved to its tolerance: the wires' resistance "
                f"is too large relative to that of the cells; lower the resistances of Wires, or the rows and columns"
            )


def check_compensation(compensation: Any) -> None:
    """Raise ``InputError`` unless the value is None or one of ``COMPENSATIONS``."""
    if compensation is not None and compensation not in COMPENSATIONS:
        hint = nearest(str(compensation), COMPENSATIONS)
        nearest_one = f"; {hint}" if hint.startswith("did") else ""
        raise InputError(f"compensation = {compensation!r}: must be one of {', '.join(COMPENSATIONS)}{nearest_one}")


def check_finite(cells: PyTree) -> None:
    """Raise ``InputError`` for weights that are NaN or infinite, or a number of the hardware that is out of range."""
    check_hardware(cells)
    for path, programmed in programmed_leaves(cells):
        if isinstance(programmed.scale, jax.core.Tracer):
            return
        # Each column's (or tile's) scale is its largest absolute weight, so it shows NaN and infinity.
        if not all_finite(programmed.scale):
            raise InputError(f"layer {path}: its weights hold NaN or infinity; only finite numbers can be programmed")
