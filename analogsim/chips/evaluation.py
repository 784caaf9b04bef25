"""Scores of many sampled, ageing chips, computed in one compiled program.

Chips are mapped over: one compilation serves all chips, times and weights. Each example has a separate noise key,
derived from its index, so that scores do not depend on how chips or examples are batched.

The metric receives everything the model returns, as any pytree, for all examples at once. A model that computes batch
statistics sees single examples, whatever the ``batch_size``; with ``batched=True`` it sees all of ``x`` in one call.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.call_inputs import Inputs, inputs_of
from analogsim.base.checks import NO_ANALOG_LAYER, check_integer
from analogsim.base.errors import InputError
from analogsim.base.extrapolation import marked
from analogsim.base.processes import whole
from analogsim.base.random import check_one_key, chip_key, read_key
from analogsim.base.types import Numeric, PyTree
from analogsim.base.units import show_time
from analogsim.chips.adc_inputs import first_not_finite
from analogsim.chips.chip import check_compensation, check_finite, check_time, read, unwritten
from analogsim.chips.metrics import accuracy, check_data, check_metric, check_scores, guarded, on_numpy
from analogsim.chips.outputs import check_outputs, holds_nan, run_examples
from analogsim.models.bound import bind
from analogsim.models.protocol import BoundModel

if TYPE_CHECKING:
    import xarray

#: Default times after programming, from one second to ten years.
LIFETIME = ("1 s", "1 h", "1 day", "1 month", "1 year", "10 years")


def evaluate(
    model: Any,
    variables: PyTree,
    x: Any,
    labels: Any,
    *,
    key: jax.Array,
    chips: int = 100,
    times: Sequence[Any] = LIFETIME,
    compensation: Sequence[str] | str | None = None,
    metric: Callable[[Any, Any], Any] = accuracy,
    batch_size: int | None = None,
    batched: bool = False,
    on_host: bool = False,
    chip_batch_size: int | None = None,
    on_progress: Callable[[int], Any] | None = None,
    **options: Any,
) -> "xarray.Dataset":
    """Program many chips, age each one and score it at every time.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: inputs, ``[n, ...]`` each: an array, a tuple for several, any pytree (``analogsim.Inputs``).
      labels: target of ``metric``, ``[n, ...]``: an array or a pytree of arrays.
      key: one random key, which determines everything random. Chip i is the same chip for every number of chips.
      chips: number of chips to sample.
      times: distinct times after programming, in seconds or as strings such as ``"1 day"``. Every chip is read at all.
      compensation: drift compensation ``"none"``, ``"global"`` or ``"column"``, or several distinct ones, which are
        applied to the same chips. None uses the hardware's setting, which the dataset names "hardware" if layers have
        different ones.
      metric: ``metric(outputs, labels) -> number`` over all of ``x``; accuracy by default. ``outputs`` is what the
        model returns, with the n examples along the first axis of every array. The metric is compiled with the model:
        write it with ``jax.numpy``, without NumPy or ``float()`` on its arguments.
      batch_size: number of examples computed together, 512 by default. It changes memory and speed, not the scores: the
        model is called with one example at a time (under ``jax.vmap``).
      batched: call the model with all of ``x`` at once, for models that depend on their batch (batch statistics,
        contrastive losses, outputs without examples). The noise of an example then depends on its index and on n.
      on_host: call the metric in Python with NumPy arrays, once per chip, time and compensation, for metrics that need
        values (scikit-learn, edit distances, BLEU). Labels are passed to it unchanged and may be strings, for example.
        The model's outputs are computed as for a compiled metric.
      chip_batch_size: number of chips computed together; by default 1 on a CPU, where that is fastest, and 8 elsewhere.
      on_progress: function called with the number of chips just finished.
      **options: keyword arguments of the model's call, for example ``train=False``; those with arrays count as inputs.
        ``rngs={"dropout": key}`` keeps a model random on purpose: every example, chip and time draws anew.

    Returns:
      A dataset with ``score`` over (compensation, chip, time), and ``digital``, the score of the digital model. Read
      noise is a function of chip and time: it is independent at different times, does not depend on the other times,
      and is the same for all compensations. If a store extrapolates beyond its data (``store.cell.extrapolate``), the
      coordinate ``extrapolated`` marks the times and the attribute of that name gives the reason.

    Raises:
      InputError: for inputs that are empty or not finite, labels that do not fit, a metric that cannot be compiled or
        returns more than one number, a model in training mode, an impossible or repeated time or compensation; and for
        scores that are not finite, with the layer, or with the chip and time.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("int8")), jax.random.normal(jax.random.key(0), (9, 4))
      >>> variables, labels = layer.init(jax.random.key(1), x), jnp.arange(9) % 3
      >>> scores = evaluate(layer, variables, x, labels, key=jax.random.key(2), chips=5, times=["1 s", "1 day"])
      >>> dict(scores.score.sizes)
      {'compensation': 1, 'chip': 5, 'time': 2}
    """
    check_one_key(key, remedy="the chips' keys follow from it; give chips=n for n chips")
    choices = _compensations(compensation)
    if on_progress is not None and not callable(on_progress):
        raise InputError(f"on_progress = {on_progress!r}: must be a function on_progress(chips), or None")
    check_integer(chips, "chips")
    at_once = _chips_at_once(chip_batch_size, on_host)
    work = checked_work(model, variables, x, labels, options, batch_size, batched, on_host)
    layers = work.bound.hardware()
    if not layers:
        raise InputError(NO_ANALOG_LAYER)
    times_s = checked_times(times, layers.items())
    settings = {hardware.drift_compensation for hardware in layers.values()}
    names = _compensation_names(choices, settings.pop() if len(settings) == 1 else "hardware")
    check_metric(metric, work.output_shapes(), work.labels, on_host)
    digital = _checked_digital(work, key, metric)  # all checks above this line compute nothing
    scored = _on_host if on_host else _compiled

    scores = []
    # In up to 20 blocks: scores are checked and progress is reported after each.
    step = max(at_once, -(-chips // 20))
    for start in range(0, chips, step):
        n_chips = min(step, chips - start)
        block = scored(work, key, start, step, n_chips, times_s, tuple(choices), metric, at_once)
        check_scores(block, start, [show_time(float(t)) for t in times_s], names)
        scores.append(block)
        if on_progress is not None:
            on_progress(n_chips)
    return marked(_dataset(np.concatenate(scores), digital, times_s, names), list(layers.values()))


class EvaluationJob(NamedTuple):
    """A model with the data that it is scored on.

    Attributes:
      bound: the model, from ``models.bind``.
      x: its inputs, ``[n, ...]`` each.
      labels: target of the metric, ``[n, ...]`` each.
      size: number of examples computed together; None for all in one call.
      on_host: whether metrics are called in Python.
    """

    bound: BoundModel
    x: Inputs
    labels: Any
    size: int | None
    on_host: bool

    def output_shapes(self) -> Any:
        """Return the shapes of the outputs that a metric receives.

        Raises:
          InputError: if an output has no axis of examples, unless the model is called with all of ``x`` at once.
        """
        if self.size is None:
            return jax.eval_shape(lambda b, a: b.digital(a), self.bound, self.x)
        check_outputs(self.bound.digital, self.x)
        return jax.eval_shape(lambda b, a: run_examples(b.digital, a, jax.random.key(0), 1), self.bound, self.x)


def checked_work(
    model: Any, variables: PyTree, x: Any, labels: Any, options: Any, batch_size: Any, batched: Any, on_host: Any
) -> EvaluationJob:
    """Bind a model to its data after checking both; arguments and errors as in ``evaluate``."""
    for name, value in (("batched", batched), ("on_host", on_host)):
        if not isinstance(value, bool):
            raise InputError(f"{name} = {value!r}: must be True or False")
    if batched and batch_size is not None:
        raise InputError(f"batch_size = {batch_size}: has no effect with batched=True; leave it out")
    size = check_integer(512 if batch_size is None else batch_size, "batch_size")
    x, options = inputs_of(x, options)
    labels = check_data(x, labels, on_host)
    return EvaluationJob(bind(model, variables, x, options), x, labels, None if batched else size, on_host)


def _chips_at_once(chip_batch_size: Any, on_host: bool) -> int:
    if chip_batch_size is None:
        return 1 if on_host or jax.default_backend() == "cpu" else 8
    at_once = check_integer(chip_batch_size, "chip_batch_size")
    if on_host is True:
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with on_host=True, which runs one chip at a time"
        )
    return at_once


def _compiled(work, key, start, step, n_chips, times_s, choices, metric, at_once) -> np.ndarray:
    """Return scores ``[n_chips, times, compensations]`` of chips ``start`` to ``start + n_chips``."""
    # The last block may run past the end: with one shape for all blocks there is one compilation. Indices are NumPy's,
    # because jnp.arange would be one more.
    indices = np.arange(start, start + step)
    block = _score_chips(work.bound, key, indices, times_s, work.x, work.labels, choices, metric, work.size, at_once)
    return whole(block)[:n_chips]


def _on_host(work, key, start, step, n_chips, times_s, choices, metric, at_once) -> np.ndarray:
    """Like ``_compiled``, for a metric in Python; the outputs of one chip, time and compensation are in memory."""
    del step, at_once
    scores = np.zeros((n_chips, len(times_s), len(choices)))
    for chip in range(n_chips):
        cells = _cells(work.bound, key, start + chip)
        # float32 as in ``score_chip``, because the noise key is made from the bits of the time.
        for t, time_s in enumerate(np.asarray(times_s, np.float32)):
            for c, choice in enumerate(choices):
                outputs = _outputs(work.bound, cells, key, start + chip, time_s, work.x, choice, work.size)
                scores[chip, t, c] = on_numpy(metric, outputs, work.labels)
    return scores


@jax.jit
def _cells(bound, key, chip_index):
    return bound.program(chip_key(key, chip_index))


def checked_times(times: Any, layers: Iterable[tuple[str, Any]]) -> np.ndarray:
    """Return times in seconds, ``[times]`` in float64, after checking them against the hardware of ``layers`` by path.

    Raises:
      InputError: for times that are not a sequence, impossible, or equal in float32, the precision of reads.
    """
    if isinstance(times, str) or np.ndim(times) != 1 or not len(times):
        raise InputError(f"times = {times!r}: must be a sequence of times, for example ('1 s', '1 day')")
    times_s = np.array([float(check_time(t, {})) for t in times]) + 0.0  # no minus zero
    values, counts = np.unique(times_s.astype(np.float32), return_counts=True)
    if counts.max() > 1:
        raise InputError(f"times = {times!r}: {show_time(float(values[counts.argmax()]))} is given more than once")
    for path, hardware in layers:
        hardware.check_time(times_s.max(), f"layer {path}: time")
    return times_s


def _compensations(compensation: Any) -> list[str | None]:
    if compensation is None or isinstance(compensation, str):
        compensation = [compensation]
    if not isinstance(compensation, Iterable):
        check_compensation(compensation)
    choices = list(compensation)
    if not choices:
        raise InputError("compensation = (): must name at least one")
    for choice in choices:
        check_compensation(choice)
    return choices


def _compensation_names(choices: list[str | None], default: str) -> list[str]:
    names = [default if choice is None else choice for choice in choices]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        hint = f" (None stands for '{default}')" if None in choices else ""
        raise InputError(f"compensation = {tuple(choices)!r}: '{twice}' is given more than once{hint}")
    return names


# The metric is static and functions compare by identity: a new lambda with the same code compiles again.
@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _score_chips(bound, key, indices, times_s, x, labels, choices, metric, batch_size, at_once):
    """Return scores ``[chips, times, compensations]`` of the chips with these indices."""

    def score(chip_index):
        return score_chip(bound, key, chip_index, times_s, x, labels, choices, metric, batch_size)

    return lax.map(score, indices, batch_size=at_once)


def score_chip(
    bound: BoundModel,
    key: jax.Array,
    chip_index: Any,
    times_s: Any,
    x: Any,
    labels: Any,
    choices: Sequence[str | None],
    metric: Callable[[Any, Any], Any],
    batch_size: int | None,
) -> Any:
    """Score one chip at every time and compensation. Traceable.

    Args:
      bound: the model, from ``models.bind``.
      key: key of the whole evaluation, from which the keys of the chip and of its noise are derived.
      chip_index: index of the chip, an integer or a tracer.
      times_s: seconds after programming, ``[times]``.
      x, labels, metric: as in ``evaluate``; the metric may return a pytree of numbers.
      choices: drift compensations; None for the hardware's setting.
      batch_size: number of examples computed together; None for all in one call.

    Returns:
      The scores of ``metric``, ``[times, compensations]`` each.
    """
    cells = bound.program(chip_key(key, chip_index))
    score = guarded(metric)

    def score_at(time_s):
        at_time = [
            score(chip_outputs(bound, cells, key, chip_index, time_s, x, choice, batch_size), labels)
            for choice in choices
        ]
        return jax.tree.map(lambda *scores: jnp.stack(scores), *at_time)

    # A loop instead of vmap: only the readings of one time are in memory.
    return lax.map(score_at, jnp.asarray(times_s, jnp.float32))


def chip_outputs(
    bound: BoundModel,
    cells: PyTree,
    key: jax.Array,
    chip_index: Any,
    time_s: Numeric,
    x: Any,
    choice: str | None,
    size: int | None,
) -> Any:
    """Return the model's outputs for all of ``x`` on one chip at one time; arguments as in ``score_chip``."""
    reads = read_key(key, chip_index)
    # The noise key depends on the time itself, not on its index, so that scores do not depend on the other times.
    noise = jax.random.fold_in(reads, lax.bitcast_convert_type(time_s, jnp.uint32))
    readings = read(cells, time_s, choice, True)
    return run_examples(lambda a, k: bound.run(readings, a, k), x, noise, size)


_outputs = jax.jit(chip_outputs, static_argnums=(6, 7))


def score_digital(work: EvaluationJob, metric: Callable[[Any, Any], Any]) -> float:
    """Return the score of the digital model.

    Raises:
      InputError: if it is not finite, with the first layer whose input, kernel or output is not finite.
    """
    if work.on_host:
        score = on_numpy(metric, _digital(work.bound, work.x, work.size), work.labels)
    else:
        score = float(_score_digital(work.bound, work.x, work.labels, metric, work.size))
    return _finite_score(work, score)


def _checked_digital(work: EvaluationJob, key: jax.Array, metric: Callable[[Any, Any], Any]) -> float:
    """Like ``score_digital``, after ``check_finite`` of the first chip, with one compiled program for both."""
    labels, compiled = (None, None) if work.on_host else (work.labels, metric)
    cells, found = _first_chip_and_digital(work.bound, key, work.x, labels, compiled, work.size)
    check_finite(cells)
    return _finite_score(work, on_numpy(metric, found, work.labels) if work.on_host else float(found))


def _finite_score(work: EvaluationJob, score: float) -> float:
    if np.isfinite(score):
        return score
    if not bool(holds_nan(_digital(work.bound, work.x, work.size))):
        raise InputError(f"metric: is {score} on the digital model, whose outputs are not NaN: must be finite")
    first = first_not_finite(work.bound.observed(work.x))
    hint = "" if first is None else f"; {first} is the first that is not finite"
    raise InputError(f"output: holds NaN on the digital model{hint}")


@functools.partial(jax.jit, static_argnums=(4, 5))
def _first_chip_and_digital(bound, key, x, labels, metric, size):
    """Return what ``check_finite`` needs of chip 0, and the digital model's score, or its outputs without a metric."""
    outputs = run_examples(bound.digital, x, jax.random.key(0), size)
    return unwritten(bound.program(chip_key(key, 0))), outputs if metric is None else guarded(metric)(outputs, labels)


@functools.partial(jax.jit, static_argnums=2)
def _digital(bound, x, size):
    return run_examples(bound.digital, x, jax.random.key(0), size)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _score_digital(bound, x, labels, metric, size):
    return guarded(metric)(run_examples(bound.digital, x, jax.random.key(0), size), labels)


def _dataset(scores: np.ndarray, digital: float, times_s: np.ndarray, names: list[str]) -> "xarray.Dataset":
    import xarray

    data = xarray.Dataset(
        {
            "score": (("compensation", "chip", "time"), np.moveaxis(scores, -1, 0)),
            "digital": ((), digital),
        },
        coords={
            "compensation": names,
            "chip": np.arange(scores.shape[0]),
            "time": ("time", times_s, {"units": "s", "long_name": "time after programming"}),
            "time_label": ("time", [show_time(float(t)) for t in times_s]),
        },
        attrs={"jax": jax.__version__, "backend": jax.default_backend()},
    )
    data["score"].attrs = {"long_name": "score on programmed chips", "units": "1"}
    data["digital"].attrs = {"long_name": "score of the digital model", "units": "1"}
    return data
