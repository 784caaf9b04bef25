"""Which non-ideality costs most: gradient of the loss with respect to hardware numbers, over sampled chips.

For chips c = 1..n, fabricated and programmed from separate keys and read at one time, the mean loss L_c over the
examples is differentiated with respect to every number p of every layer's hardware, through fabrication, writing,
ageing and reading: the random numbers stay, their sizes change. The reported effect is that of +10 % of a number,

    effect_c = 0.1 sum over layers of p dL_c/dp          mean over c, with the standard error std/sqrt(n)

Gradients use the straight-through estimator of the quantisers, and omit the effect of a number on the read noise of
later layers through their inputs. Some numbers have no gradient: bits and ranges of converters (quantisation), and
numbers that act through a comparison, such as fractions of stuck cells or the window of program-and-verify; their
gradient is exactly zero on every chip. These, or with ``method="difference"`` all, are changed in all layers by one, or
by 10 %,

    effect_c = L_c(changed) - L_c                        once up and once down

on the same chips with the same random numbers. Up and down differ if the loss is curved: a range that is 10 % smaller
clips, one that is 10 % larger does not gain as much.
"""

import functools
import typing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import inputs_of
from analogsim.base.checks import NO_ANALOG_LAYER, check_integer
from analogsim.base.errors import InputError
from analogsim.base.extrapolation import extrapolates, in_words
from analogsim.base.random import check_one_key, chip_key, read_key
from analogsim.base.types import Numeric, PyTree
from analogsim.chips.chip import check_compensation, check_finite, check_solved, check_time, read
from analogsim.chips.metrics import check_data
from analogsim.chips.outputs import check_outputs, run_examples
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.models.bound import bind, program_jit
from analogsim.models.protocol import BoundModel
from analogsim.training.calibrated_ranges import ranges_of, with_ranges
from analogsim.training.effects import RELATIVE_CHANGE, STEPS, Perturbation, Sensitivity, dataset
from analogsim.training.hardware_numbers import ADC_RANGE, RANGES, SelectedNumbers, choose, shifted
from analogsim.training.losses import Loss, check_classes_of, cross_entropy

_METHODS = ("gradient", "difference")


def sensitivity(
    model: Any,
    variables: PyTree,
    x: Any,
    labels: Any,
    *,
    key: jax.Array,
    chips: int = 32,
    time: Any = "1 day",
    compensation: str | None = None,
    loss: Loss = cross_entropy,
    parameters: typing.Sequence[str] | str | None = None,
    method: str = "gradient",
    batch_size: int = 512,
    **options: Any,
) -> Sensitivity:
    """Differentiate the loss with respect to every number of the hardware, on sampled chips.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x, labels: examples (``analogsim.Inputs``) and labels for ``loss``, ``[n, ...]``; a few hundred are enough.
      key: random key; chip i does not depend on ``chips``.
      chips: number of sampled chips.
      time: read time after programming, seconds or a string such as ``"1 day"``.
      compensation: drift compensation; None for the hardware's setting.
      loss: ``loss(outputs, labels) -> number``.
      parameters: names or patterns, ``("store.cell.*", "adc.noise")``; None for all except single coefficients of fits
        (``store.cell.drift_mean[0]``), ``"all"`` to include those.
      method: ``"gradient"`` uses gradients if they exist; ``"difference"`` changes every number by 10 %, which needs no
        straight-through estimator and costs two evaluations per number.
      batch_size: examples computed together.
      **options: keyword arguments of the model's call, for example ``train=False``; those that hold arrays are inputs.

    Returns:
      the effects and gradients, as a dataset and a table.

    Raises:
      InputError: for a name that no layer has, or that is None in all; for a loss that is not one finite number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (20, 4))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> names = ("store.cell.drift", "adc.noise")
      >>> result = sensitivity(
      ...     layer, variables, x, jnp.zeros(20, int), key=jax.random.key(2), chips=3, parameters=names)
      >>> result.data.gradient.dims, result.ranking[0].change
      (('chip', 'layer', 'parameter'), '10 % more')
    """
    check_one_key(key)
    check_compensation(compensation)
    _check_settings(method, chips=chips, batch_size=batch_size)
    x, options = inputs_of(x, options)
    labels = check_data(x, labels)
    bound = bind(model, variables, x, options)
    hardware = bound.hardware()
    if not hardware:
        raise InputError(NO_ANALOG_LAYER)
    check_outputs(bound.digital, x)
    check_classes_of(loss, jax.eval_shape(bound.digital, x), labels)
    time_s: Any = np.float32(_seconds(time, hardware))
    chosen = choose(hardware, parameters, ranges_of(bound))

    setting = _Setting(compensation, loss, batch_size)
    data = (key, np.arange(chips), time_s, x, labels)  # by NumPy: jnp.arange is one more compilation
    smooth = [n for n in chosen.names if method == "gradient" and not _is_stepped(n, chosen)]
    losses, gradients = _gradients(bound, *data, _zeros(chosen, smooth), setting)
    if not np.all(np.isfinite(np.asarray(losses))):
        _explain(bound, key, time_s, losses)
    smooth, unknown = _with_gradients(smooth, gradients, chosen)
    moves = _moves([n for n in chosen.names if n not in (*smooth, *unknown)], chosen)
    differences = _differences(bound, data, setting, moves, chosen)
    late = in_words(h for h in hardware.values() if extrapolates(h, float(time_s)))
    return Sensitivity(dataset(chosen, losses, gradients, smooth, unknown, moves, differences, float(time_s), late))


class _Setting(NamedTuple):
    """Static settings."""

    compensation: str | None
    loss: Loss
    batch_size: int


def _is_stepped(name: str, chosen: SelectedNumbers) -> bool:
    """Return whether a number is known to act through quantisation."""
    return _is_integer(name, chosen) or name in chosen.ranges or name == ADC_RANGE


def _is_integer(name: str, chosen: SelectedNumbers) -> bool:
    return any(numbers[name].is_integer for numbers in chosen.layers.values() if name in numbers)


def _column(values: Any) -> np.ndarray:
    return np.asarray(values, jax.dtypes.canonicalize_dtype(float))


def _zeros(chosen: SelectedNumbers, names: list[str]) -> dict[str, dict[str, np.ndarray]]:
    return {path: {n: _column(0.0) for n in names if n in numbers} for path, numbers in chosen.layers.items()}


def _loss_of(
    bound: BoundModel, key: jax.Array, index: Any, time_s: Numeric, x: Any, labels: Any, setting: _Setting, shifts: Any
):
    """Return the mean loss of one chip whose layers' numbers are shifted by ``shifts[path][name]``."""

    def change(path: str, hardware: Hardware) -> Any:
        return shifted(hardware, shifts.get(path, {}))

    with override_hardware(change):
        cells = bound.program(chip_key(key, index))
        readings = read(cells, time_s, setting.compensation, True)
        noise = read_key(key, index)
        outputs = run_examples(lambda a, k: bound.run(readings, a, k), x, noise, setting.batch_size)
    value = setting.loss(outputs, labels)
    if jnp.shape(value) != ():
        raise InputError(f"loss: returns shape {jnp.shape(value)}: must be one number, the mean over examples")
    return value


@functools.partial(jax.jit, static_argnames="setting")
def _gradients(bound, key, indices, time_s, x, labels, zeros, setting):
    """Return losses ``[chip]`` and their gradients ``{path: {name: [chip]}}``."""

    def one(index):
        loss = functools.partial(_loss_of, bound, key, index, time_s, x, labels, setting)
        return jax.value_and_grad(loss)(zeros) if jax.tree.leaves(zeros) else (loss(zeros), zeros)

    return jax.lax.map(one, indices)


def _with_gradients(smooth: list[str], gradients: PyTree, chosen: SelectedNumbers) -> tuple[list[str], list[str]]:
    """Return names with a gradient, and names of zeros without one, which +10 % would not change."""
    having, unknown = [], []
    for name in smooth:
        values = np.stack([np.asarray(of_layer[name]) for of_layer in gradients.values() if name in of_layer])
        if np.all(np.isfinite(values)) and np.any(values != 0):
            having.append(name)
        elif all(float(numbers[name].value) == 0 for numbers in chosen.layers.values() if name in numbers):
            unknown.append(name)
    return having, unknown


def _moves(names: list[str], chosen: SelectedNumbers) -> list[Perturbation]:
    """Return the steps up and down of every number, if its field allows them in all layers."""
    moves = []
    for name in names:
        by_layer = {path: numbers[name] for path, numbers in chosen.layers.items() if name in numbers}
        for step, sign in zip(STEPS, (1, -1), strict=True):
            amounts = {
                path: float(sign) if number.is_integer else sign * RELATIVE_CHANGE * float(number.value)
                for path, number in by_layer.items()
            }
            if all(number.allows(float(number.value) + amounts[path]) for path, number in by_layer.items()):
                moves.append(Perturbation(name, step, amounts, 1 + sign * RELATIVE_CHANGE))
    return moves


def _differences(
    bound: BoundModel, data: tuple, setting: _Setting, moves: list[Perturbation], chosen: SelectedNumbers
) -> np.ndarray:
    """Return the changes of the loss ``[move, chip]``."""
    if not moves:
        return np.zeros((0, len(data[1])))
    names = list(dict.fromkeys(move.name for move in moves))
    # The unchanged loss comes from the same compiled function, so that equal losses cancel exactly.
    steps = [Perturbation("", "", {}, 1.0), *moves]
    shifts = {
        path: {n: _column([s.amounts[path] if s.name == n else 0.0 for s in steps]) for n in names if n in numbers}
        for path, numbers in chosen.layers.items()
    }
    factors = {
        kind: _column([s.factor if s.name == name else 1.0 for s in steps])
        for kind, name in RANGES.items()
        if name in names
    }
    integers = tuple(n for n in names if _is_integer(n, chosen))
    losses = np.asarray(_varied(bound, *data, shifts, factors, setting, integers), np.float64)
    return (losses[:, 1:] - losses[:, :1]).T


@functools.partial(jax.jit, static_argnames=("setting", "integers"))
def _varied(bound, key, indices, time_s, x, labels, shifts, factors, setting, integers):
    """Return losses ``[chip, step]``; the numbers named in ``integers`` are shifted as integers."""

    def one(index):
        def at(step):
            amounts, range_factors = step
            amounts = {
                path: {n: a.astype(jnp.int32) if n in integers else a for n, a in of_layer.items()}
                for path, of_layer in amounts.items()
            }
            return _loss_of(with_ranges(bound, range_factors), key, index, time_s, x, labels, setting, amounts)

        return jax.lax.map(at, (shifts, factors))

    return jax.lax.map(one, indices)


def _check_settings(method: Any, **counts: Any) -> None:
    if method not in _METHODS:
        raise InputError(f"method = {method!r}: must be 'gradient' or 'difference'")
    for name, value in counts.items():
        check_integer(value, name)


def _seconds(time: Any, hardware: dict[str, Any]) -> float:
    """Return the time in seconds after programming; every store must have data for it."""
    time_s = float(check_time(time, {}))
    for path, item in hardware.items():
        item.check_time(time_s, f"layer {path}: time")
    return time_s


def _explain(bound: BoundModel, key: jax.Array, time_s: Numeric, losses: jax.Array) -> None:
    """Raise an error that explains a non-finite loss: by the programmed cells, the readings, else the loss itself."""
    cells = program_jit(bound, chip_key(key, 0))
    check_finite(cells)
    check_solved(read(cells, time_s, None, True))
    bad = int(np.sum(~np.isfinite(np.asarray(losses))))
    raise InputError(
        f"loss: is not finite on {bad} of the {len(losses)} sampled chips, although data and weights are finite; check "
        f"the ranges, and the loss for logarithms of zero"
    )
