"""Accuracy of hundreds of sampled, ageing chips, in one compiled program.

Chips are mapped over, not looped over: one compilation serves every chip, time and set of weights. Each example has
its own noise key, derived from its index, so the numbers do not depend on how chips or examples are batched.

The metric gets all that the model returns, any pytree, for all examples at once. A model that computes with statistics
of its batch sees single examples, whatever the ``batch_size``; with ``batched=True`` it sees all of ``x`` in one call.
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
from analogsim.base.random import check_one_key, chip_key, read_key
from analogsim.base.units import show_time
from analogsim.chips.adc_inputs import first_not_finite
from analogsim.chips.chip import check_compensation, check_finite, check_time, read
from analogsim.chips.metrics import (
    accuracy,
    check_data,
    check_metric,
    check_scores,
    guarded,
    on_numpy,
)
from analogsim.chips.outputs import check_outputs, holds_nan, run_examples
from analogsim.models.bound import bind, program_jit

if TYPE_CHECKING:
    import xarray

#: From a second to ten years after programming.
LIFETIME = ("1 s", "1 h", "1 day", "1 month", "1 year", "10 years")


def evaluate(
    model: Any,
    variables: Any,
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
    """Program many chips, age each one, and measure it at every time.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: inputs, ``[n, ...]`` each: an array, a tuple for several, any pytree (``analogsim.Inputs``).
      labels: what ``metric`` compares the outputs with, ``[n, ...]``, an array or a pytree of arrays.
      key: everything random follows from it: chip i is the same chip whatever ``chips`` is.
      chips: how many to sample.
      times: times after programming, seconds or text such as ``"1 day"``, each once. All are read from the same chip.
      compensation: drift compensation, ``"none"``, ``"global"`` or ``"column"``; several, each once, share their
        chips. None is the hardware's own.
      metric: ``metric(outputs, labels) -> number`` over the whole of ``x``; accuracy by default. ``outputs`` is what
        the model returns, with the examples of all ``x`` along the first axis of every array. It is compiled with the
        model: written with ``jax.numpy``, it returns one number, and neither NumPy nor ``float()`` may touch its
        arguments.
      on_host: call the metric in Python instead, with NumPy arrays and one chip, time and compensation after the other:
        for what needs values (scikit-learn, edit distances, BLEU). Labels are handed over as they are given, texts for
        example. What it scores is computed as for a compiled one.
      batch_size: examples computed together, 512 by default; changes memory and speed, not the numbers: the model is
        given one example a call, and sees no other.
      batched: give the model all of ``x`` in one call, for what depends on its batch (statistics of the batch,
        contrastive losses, outputs without examples). Its noise then follows from ``x`` as a whole, and an example's
        from its place in it and from how many there are.
      chip_batch_size: chips computed together; by default one on a CPU, where it is fastest, and eight elsewhere.
      on_progress: called with the number of chips just finished.
      **options: keyword arguments of the model's call, for example ``train=False``; those that hold arrays are inputs.
        ``rngs={"dropout": key}`` keeps a model random that is so on purpose: every example, chip and time draws anew.

    Returns:
      A dataset with ``score`` over (compensation, chip, time) and the exact model's ``digital`` score. Noise of reads
      follows from the chip and the time: it is drawn anew at every time, whichever others are asked for, and is the
      same across compensations. Where a store goes on beyond its data (``store.cell.extrapolate``), the coordinate
      ``extrapolated`` says at which times it does, and the attribute of that name why.

    Raises:
      InputError: for what cannot be measured: no example, inputs that are not finite, labels that do not fit, a metric
        that cannot be compiled or gives more than one number, a model left in training mode, a time or compensation
        that is impossible or given twice; and for scores that are no numbers, with the layer, or the chip and time.
    """
    check_one_key(key, remedy="the chips' keys follow from it; give chips=n for n chips")
    choices = _compensations(compensation)
    if on_progress is not None and not callable(on_progress):
        raise InputError(f"on_progress = {on_progress!r}: must be a function on_progress(chips), or None")
    check_integer(chips, "chips")
    at_once = _at_once(chip_batch_size, on_host)
    work = checked_work(model, variables, x, labels, options, batch_size, batched, on_host)
    layers = work.bound.hardware()
    if not layers:
        raise InputError(NO_ANALOG_LAYER)
    times_s = checked_times(times, layers.items())
    names = _compensation_names(choices, next(iter(layers.values())).drift_compensation)
    check_metric(metric, work.output_shapes(), work.labels, on_host)
    check_finite(program_jit(work.bound, chip_key(key, 0)))  # the first that is computed
    digital = score_digital(work, metric)
    scored = _on_host if on_host else _compiled

    scores = []
    step = max(at_once, -(-chips // 20))
    for start in range(0, chips, step):
        wanted = min(step, chips - start)
        block = scored(work, key, start, step, wanted, times_s, tuple(choices), metric, at_once)
        check_scores(block, start, [show_time(float(t)) for t in times_s], names)
        scores.append(block)
        if on_progress is not None:
            on_progress(wanted)
    return marked(_dataset(np.concatenate(scores), digital, times_s, names), list(layers.values()))


class EvaluationJob(NamedTuple):
    """What is scored.

    Attributes:
      bound: the model, from ``models.bind``.
      x: its inputs.
      labels: what a metric compares the outputs with.
      size: examples computed together; None for all in one call.
      on_host: whether metrics are called in Python.
    """

    bound: Any
    x: Inputs
    labels: Any
    size: int | None
    on_host: bool

    def output_shapes(self) -> Any:
        """Shapes of what a metric is given; refuses outputs without examples, unless they are of all of ``x``."""
        if self.size is None:
            return jax.eval_shape(lambda b, a: b.digital(a), self.bound, self.x)
        check_outputs(self.bound.digital, self.x)
        one = lambda b, a: run_examples(b.digital, a, jax.random.key(0), 1)  # noqa: E731
        return jax.eval_shape(one, self.bound, self.x)


def checked_work(
    model: Any, variables: Any, x: Any, labels: Any, options: Any, batch_size: Any, batched: Any, on_host: Any
) -> EvaluationJob:
    """What is scored, arguments as of ``evaluate``; refuses what cannot be."""
    size = examples_together(batch_size, batched)
    if not isinstance(on_host, bool):
        raise InputError(f"on_host = {on_host!r}: must be True or False")
    x, options = inputs_of(x, options)
    labels = check_data(x, labels, on_host)
    return EvaluationJob(bind(model, variables, x, options), x, labels, size, on_host)


def examples_together(batch_size: Any, batched: Any) -> int | None:
    """How many examples are computed together; None for all of them in one call of the model."""
    if not isinstance(batched, bool):
        raise InputError(f"batched = {batched!r}: must be True or False")
    if batched:
        if batch_size is not None:
            raise InputError(f"batch_size = {batch_size}: has no effect with batched=True; leave it out")
        return None
    if batch_size is None:
        return 512
    return check_integer(batch_size, "batch_size")


def _at_once(chip_batch_size: Any, on_host: bool) -> int:
    if chip_batch_size is None:
        return 1 if on_host or jax.default_backend() == "cpu" else 8
    at_once = check_integer(chip_batch_size, "chip_batch_size")
    if on_host is True:
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with on_host=True, which goes chip by chip"
        )
    return at_once


def _compiled(work, key, start, step, wanted, times_s, choices, metric, at_once) -> np.ndarray:
    """Scores ``[chip, time, compensation]``."""
    indices = jnp.arange(start, start + step)  # the last block may run past the end: one shape, one compilation
    block = _score_chips(
        work.bound, key, indices, times_s, work.x, work.labels, choices, metric, work.size, at_once
    )  # fmt: skip
    return np.asarray(block)[:wanted]


def _on_host(work, key, start, step, wanted, times_s, choices, metric, at_once) -> np.ndarray:
    """The same by a metric in Python, with the outputs of one chip, time and compensation in memory."""
    del step, at_once
    found = np.zeros((wanted, len(times_s), len(choices)))
    for chip in range(wanted):
        cells = _cells(work.bound, key, start + chip)
        for t, time_s in enumerate(np.asarray(times_s, np.float32)):
            for c, choice in enumerate(choices):
                outputs = _outputs(work.bound, cells, key, start + chip, time_s, work.x, choice, work.size)
                found[chip, t, c] = on_numpy(metric, outputs, work.labels)
    return found


@jax.jit
def _cells(bound, key, chip_index):
    return bound.program(chip_key(key, chip_index))


@functools.partial(jax.jit, static_argnums=(6, 7))
def _outputs(bound, cells, key, chip_index, time_s, x, choice, size):
    return chip_outputs(bound, cells, key, chip_index, time_s, x, choice, size)


def checked_times(times: Any, layers: Iterable[tuple[str, Any]]) -> np.ndarray:
    """Seconds as they were given, each once in float32, as the chips are read at.

    Args:
      times: a sequence of seconds or texts.
      layers: paths and hardware, whose stores must have data for all of them.
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


def _compensation_names(choices: list[str | None], own: str) -> list[str]:
    """What is done, by name: None is the hardware's ``own`` choice."""
    names = [own if choice is None else choice for choice in choices]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        hint = f" (None is this hardware's own, '{own}')" if None in choices else ""
        raise InputError(f"compensation = {tuple(choices)!r}: '{twice}' is given more than once{hint}")
    return names


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _score_chips(bound, key, indices, times_s, x, labels, choices, metric, batch_size, at_once):
    """Scores ``[chip, time, compensation]`` of the chips with these indices."""

    def score(chip_index):
        return score_chip(bound, key, chip_index, times_s, x, labels, choices, metric, batch_size)

    return lax.map(score, indices, batch_size=at_once)


def score_chip(
    bound: Any, key: jax.Array, chip_index: Any, times_s: Any, x: Any, labels: Any, choices: Sequence[str | None],
    metric: Callable[[Any, Any], Any], batch_size: int | None,
) -> Any:  # fmt: skip
    """Scores of one chip at every time and compensation: what ``metric`` gives, with leading axes [time, compensation].

    Args:
      bound: from ``models.bind``.
      key: of the whole evaluation; the chip and its noise follow from it and ``chip_index``.
      chip_index: which chip.
      times_s: ``[times]``.
      x, labels, metric: as of ``evaluate``.
      batch_size: examples computed together; None for one call with all.
      choices: compensations; None is the hardware's own.
    """
    cells = bound.program(chip_key(key, chip_index))
    score = guarded(metric)

    def score_at(time_s):
        at_time = [
            score(chip_outputs(bound, cells, key, chip_index, time_s, x, choice, batch_size), labels)
            for choice in choices
        ]
        return jax.tree.map(lambda *scores: jnp.stack(scores), *at_time)

    return lax.map(score_at, jnp.asarray(times_s, jnp.float32))


def chip_outputs(
    bound: Any, cells: Any, key: jax.Array, chip_index: Any, time_s: Any, x: Any, choice: str | None, size: int | None
) -> Any:
    """What the model returns for all of ``x`` on one chip, at one time."""
    reads = read_key(key, chip_index)
    # By the time itself, not its place in the list: a day is the same day beside other times.
    noise = jax.random.fold_in(reads, lax.bitcast_convert_type(time_s, jnp.uint32))
    readings = read(cells, time_s, choice, True)
    return run_examples(lambda a, k: bound.run(readings, a, k), x, noise, size)


def score_digital(work: EvaluationJob, metric: Callable[[Any, Any], Any]) -> float:
    """The exact model's score.

    Raises:
      InputError: where it is no finite number, with the first layer in which that shows.
    """
    if work.on_host:
        score = on_numpy(metric, _digital(work.bound, work.x, work.size), work.labels)
    else:
        score = float(_score_digital(work.bound, work.x, work.labels, metric, work.size))
    if np.isfinite(score):
        return score
    if not bool(holds_nan(_digital(work.bound, work.x, work.size))):
        raise InputError(f"metric: is {score} on the exact model, whose outputs are numbers: must be finite")
    where = first_not_finite(work.bound.observed(work.x))
    raise InputError(f"output: holds NaN on the exact model{'' if where is None else f'; {where} is the first'}")


@functools.partial(jax.jit, static_argnums=2)
def _digital(bound, x, size):
    return run_examples(bound.digital, x, jax.random.key(0), size)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _score_digital(bound, x, labels, metric, size):
    return guarded(metric)(run_examples(bound.digital, x, jax.random.key(0), size), labels)


def _dataset(scores, digital, times_s, names):
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
    data["digital"].attrs = {"long_name": "score of the exact model", "units": "1"}
    return data
