"""Chips: a model's weights on fabricated, programmed, ageing hardware.

chip = program(model, variables, key, x)          # every cell written once, its drift drawn once
chip.at("1 year").variables                       # what it holds a year later, for model.apply
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
from analogsim.base.random import check_key, is_key, key_shape
from analogsim.base.units import seconds, show_time
from analogsim.models.bound import bind, leaves_of, map_programmed, program_jit, program_many_jit, programmed_leaves
from analogsim.signal_path.programmed import ChipArray, ProgrammedTiles
from analogsim.signal_path.reading import age_in_words

COMPENSATIONS = ("none", "global", "column")

_LATEST_S = 1e12  # later than any model of drift can be meant: 30,000 years


class LayerWriteStatistics(NamedTuple):
    """What writing one layer's cells in a closed loop took (``Crossbar.write_verify``), over all chips of a stack.

    Attributes:
      path: the layer's path.
      cells: cells written.
      pulses: write pulses in all; every one is followed by a verifying read, and one read precedes the first.
      mean_pulses: a cell.
      accepted: share of cells that ended within the window; stuck cells rarely do.
      energy_j: of the pulses; None where ``EnergyTable.write_pulse_j`` is not known.
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

    Attributes:
      cells: the programmed tiles of every layer: each cell's own state, fixed for life.
      readings: what the tiles hold at ``time_s``.
      digital: the model's other variables (biases, normalisation, ranges); None for NNX, which keeps its own.
      time_s: seconds after programming at which it is read.
    """

    cells: Any
    readings: Any
    digital: Any
    time_s: Any

    def __repr__(self) -> str:
        """Its size, hardware and age; of a stack how many chips."""
        programmed = programmed_leaves(self.cells)
        if not programmed or not all(
            isinstance(getattr(matrix, "scale", None), (jax.Array, np.ndarray)) for _, matrix in programmed
        ):
            return super().__repr__()  # axes of a map, or placeholders
        names = dict.fromkeys(repr(matrix.hardware.name) for _, matrix in programmed)
        numbers = sum(matrix.n_in * matrix.n_out * math.prod(matrix.scale.shape[:-4]) for _, matrix in programmed)
        count = sum(math.prod(matrix.scale.shape[:-2]) for _, matrix in programmed)
        late = any(extrapolates(_one_hardware(matrix), self.time_s) for _, matrix in programmed)
        return (
            f"Chip({len(programmed)} {'layer' if len(programmed) == 1 else 'layers'}, {numbers:,} weights on {count:,} "
            f"{'tile' if count == 1 else 'tiles'} of {', '.join(names)}, {age_in_words(self.time_s)}"
            f"{', extrapolated' if late else ''})"
        )

    @property
    def variables(self) -> dict[str, Any]:
        """What to pass to a Linen model: ``model.apply(chip.variables, x, rngs={"analog": key})``."""
        if self.digital is None:
            raise InputError("this chip belongs to an NNX model: use analogsim.nnx.on_chip(model, chip)")
        return {**self.digital, "analog": self.readings}

    @property
    def axes(self) -> "Chip":
        """``in_axes`` of a stack of chips: its cells and readings are mapped, what the chips share is not.

        ``jax.vmap(lambda chip: model.apply(chip.variables, x, rngs=...), in_axes=(chips.axes,))(chips)``
        """
        return Chip(cells=0, readings=0, digital=None, time_s=None)

    @property
    def write_statistics(self) -> tuple["LayerWriteStatistics", ...]:
        """What writing took in every layer whose cells were written in a closed loop, in the model's order."""
        found = []
        for path, programmed in programmed_leaves(self.cells):
            state = programmed.state
            if getattr(state, "pulses", None) is None:
                continue
            pulses, accepted = (np.asarray(a, np.float64) for a in (state.pulses, state.accepted))
            hardware: Any = programmed.hardware  # all of it, of which the signal path names only a part
            price_j = hardware.energy_table.write_pulse_j
            energy_j = None if price_j is None else _priced(pulses, np.asarray(price_j, np.float64))
            done = float(accepted.mean())
            found.append(
                LayerWriteStatistics(path, pulses.size, int(pulses.sum()), float(pulses.mean()), done, energy_j)
            )
        return tuple(found)

    def at(self, time: Any, compensation: str | None = None, read_noise: bool = True) -> "Chip":
        """The same chip read at another time; times may come in any order, the cells' histories do not change.

        What fluctuates slowly is drawn once a chip and time: read twice at one time, a chip is the same.

        Args:
          time: time after programming: seconds, a traced number, or text such as ``"1 day"``.
          compensation: drift compensation, ``"none"``, ``"global"`` (one factor a tile) or ``"column"`` (one a readout
            line); None takes the hardware's choice.
          read_noise: False reads the expected values, without the noise of a read.

        Raises:
          InputError: for a negative time, or one later than the store's model has data for.
        """
        if not isinstance(read_noise, (bool, np.bool_)):
            raise InputError(f"read_noise = {read_noise!r}: must be True or False")
        time_s = check_time(time, self.cells)
        check_compensation(compensation)
        check_hardware(self.cells)
        readings = read(self.cells, time_s, compensation, bool(read_noise))
        check_solved(readings)
        return dataclasses.replace(self, readings=readings, time_s=time_s)


def program(
    model: Any, variables: Any = None, key: Any = None, x: Any = None, *, reprogram: Chip | None = None, **options: Any
) -> Chip:
    """Fabricate a chip for a model and write its weights: sampled once, then read at any time.

    Args:
      model: a Linen or NNX model with analog layers.
      variables: a Linen model's variables; None for NNX.
      key: one key is one chip; an array of keys ``[n_chips]`` gives a stack of chips, to be mapped over with
        ``jax.vmap(..., in_axes=(chips.axes,))``.
      x: one call's inputs (``analogsim.Inputs``: an array, a tuple for several, any pytree), of which only the shape is
        used; not needed if ``variables`` come from ``calibrate``. An NNX model is written with the kernels that its
        layers hold, or, with ``x``, with those that they multiply with: layers that compute theirs
        (``nnx.WeightNorm``, ``nnx.SpectralNorm``, subclasses with code of their own) ask for it, and a module that puts
        another kernel into a plain layer in the call needs it.
      reprogram: a chip of this model that is written again: its stuck cells and the scales of its cells stay,
        everything that writing draws is drawn anew, and its age begins at zero. With a stack of chips, as many keys.
      **options: keyword arguments of the Linen model's call, for example ``train=False``; those that hold arrays are
        inputs.

    Returns:
      The chip, read right after programming.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> chip = program(layer, layer.init(jax.random.key(0), x), jax.random.key(1), x)
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


@functools.partial(jax.jit, static_argnums=(2, 3))
def read(cells: Any, time_s: Any, compensation: str | None, read_noise: bool) -> Any:
    """Readings of a tree of programmed tiles; stacks of chips or of scanned layers keep their leading axes."""

    return map_programmed(lambda one: ChipArray.read(one, time_s, compensation, read_noise), cells)


def _check_program_keys(variables: Any, key: Any) -> None:
    if is_key(variables):
        raise InputError(
            "variables: this is a random key; the order is program(model, variables, key, x), or "
            "program(model, key=key) for an NNX model"
        )
    check_key(key)
    if len(key_shape(key)) > 1 or key_shape(key) == (0,):
        raise InputError(
            f"key: an array of keys of shape {key_shape(key)}: must be one key, or a row of n_chips keys, for example "
            f"jax.random.split(key, 3)"
        )


def check_time(time: Any, cells: Any) -> Any:
    """Seconds, checked against what the stores' models have data for."""
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


def check_age(time_s: Any, cells: Any, where: str) -> None:
    """Refuse the age of a chip that comes from a file and that no chip can be read at; of a stack, all ages."""
    if isinstance(time_s, (jax.core.Tracer, jax.ShapeDtypeStruct)):
        return
    ages = np.ravel(np.asarray(seconds(time_s, where)))
    if ages.size:
        check_time(float(ages.max()), cells)


def _one_hardware(programmed: ProgrammedTiles) -> Any:
    """The hardware of one matrix: each of a stack has brought its own copy of the one hardware."""
    first = (0,) * (programmed.scale.ndim - 4)
    return jax.tree.map(lambda a: a[first], programmed.hardware) if first else programmed.hardware


def _priced(pulses: np.ndarray, price_j: np.ndarray) -> float:
    """Joules of pulses, at one price or at one for each matrix of a stack (leading axes)."""
    each = pulses.sum(axis=tuple(range(price_j.ndim, pulses.ndim)))
    return float((each * price_j).sum())


def check_hardware(cells: Any) -> None:
    """Refuse hardware with a number out of its range, which a compiled program could not refuse."""
    for path, programmed in programmed_leaves(cells):
        check_numbers(programmed.hardware, f"layer {path}: ")


def check_solved(readings: Any) -> None:
    """Refuse readings that a store could not compute: a network of resistive lines that was not solved is NaN."""
    for path, array in leaves_of(ChipArray, readings):
        mean = array.reading.mean
        if not array.hardware.store.has_wires or isinstance(mean, jax.core.Tracer):
            continue
        if not np.all(np.isfinite(np.asarray(mean))):
            raise InputError(
                f"layer {path}: the network of its resistive lines was not solved to its tolerance: the resistance of "
                f"the lines is too far above that of the cells; lower Wires' resistances, or the rows and columns"
            )


def check_compensation(compensation: Any) -> None:
    """Refuse an unknown compensation."""
    if compensation is not None and compensation not in COMPENSATIONS:
        hint = nearest(str(compensation), COMPENSATIONS)
        nearest_one = f"; {hint}" if hint.startswith("did") else ""
        raise InputError(f"compensation = {compensation!r}: must be one of {', '.join(COMPENSATIONS)}{nearest_one}")


def check_finite(cells: Any) -> None:
    """Refuse weights that are NaN or infinite, which their scale shows, and hardware with a number out of its range."""
    check_hardware(cells)
    for path, programmed in programmed_leaves(cells):
        if isinstance(programmed.scale, jax.core.Tracer):
            return
        if not np.all(np.isfinite(np.asarray(programmed.scale))):
            raise InputError(f"layer {path}: its weights hold NaN or infinity; only finite numbers can be programmed")
