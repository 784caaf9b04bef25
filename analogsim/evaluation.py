"""Accuracy of hundreds of sampled, ageing chips, in one compiled program.

Chips are mapped over, not looped over: one compilation serves every chip, time and set of weights. Each example has
its own noise key, derived from its index, so the numbers do not depend on how chips or examples are batched.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.chip import check_compensation, check_finite, check_time, read
from analogsim.devices.errors import InputError
from analogsim.devices.random import check_one_key, stream
from analogsim.devices.units import show_time
from analogsim.models import bind, program_jit, programmed_leaves

if TYPE_CHECKING:
    import xarray

#: From a second to ten years after programming.
LIFETIME = ("1 s", "1 h", "1 day", "1 month", "1 year", "10 years")


def accuracy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of labels that are the index of the largest output. outputs ``[n, ..., classes]``, labels ``[n, ...]``.

    Raises:
      InputError: where labels are not one class number for each vector of outputs (``[n, 1]`` or one-hot labels would
        otherwise be compared all with all).
    """
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        raise InputError(
            f"outputs of shape {outputs.shape}: accuracy takes the largest of two or more outputs; give another metric"
        )
    if labels.shape != outputs.shape[:-1]:
        raise InputError(
            f"labels: shape {labels.shape}: accuracy needs one class number for each of the outputs of shape "
            f"{outputs.shape}, that is shape {outputs.shape[:-1]}"
            + ("; one-hot labels become numbers by labels.argmax(-1)" if labels.shape == outputs.shape else "")
        )
    return jnp.mean(jnp.argmax(outputs, axis=-1) == labels)


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
    metric: Callable[[jax.Array, jax.Array], jax.Array] = accuracy,
    batch_size: int = 512,
    chips_at_once: int | None = None,
    on_progress: Callable[[int], Any] | None = None,
    **options: Any,
) -> "xarray.Dataset":
    """Program many chips, age each one, and measure it at every time.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: inputs, ``[n, ...]``.
      labels: what ``metric`` compares the outputs with, ``[n, ...]``.
      key: everything random follows from it: chip i is the same chip whatever ``chips`` is.
      chips: how many to sample.
      times: times after programming, seconds or text such as ``"1 day"``, each once. All are read from the same chip.
      compensation: drift compensation, ``"none"``, ``"global"`` or ``"column"``; several, each once, share their
        chips. None is the hardware's own.
      metric: ``metric(outputs, labels) -> number`` over the whole of ``x``; accuracy by default. It is compiled with
        the model: written with ``jax.numpy``, it returns one number, and neither NumPy nor ``float()`` may touch its
        arguments.
      batch_size: examples computed together; changes memory and speed, not the numbers.
      chips_at_once: chips computed together; by default one on a CPU, where it is fastest, and eight elsewhere.
      on_progress: called with the number of chips just finished.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      A dataset with ``score`` over (compensation, chip, time) and the exact model's ``digital`` score. Noise of reads
      follows from the chip and the time: it is drawn anew at every time, whichever others are asked for, and is the
      same across compensations.

    Raises:
      InputError: for what cannot be measured: no example, labels that do not fit, a metric that cannot be compiled or
        gives more than one number, a time or compensation that is impossible or given twice.
    """
    check_one_key(key, remedy="the chips' keys follow from it; give chips=n for n chips")
    choices = _compensations(compensation)
    check_count("chips", chips)
    check_count("batch_size", batch_size)
    at_once = (1 if jax.default_backend() == "cpu" else 8) if chips_at_once is None else chips_at_once
    check_count("chips_at_once", at_once)
    x, labels = jax.tree.map(jnp.asarray, (x if isinstance(x, tuple) else np.asarray(x), np.asarray(labels)))
    check_data(x, labels)

    bound = bind(model, variables, x, options)
    first = program_jit(bound, chip_key(key, 0))
    if not programmed_leaves(first):
        raise InputError("the model has no analog layer: build it with AnalogDense, or convert(model, hardware)")
    check_finite(first)
    times_s = _times(times, first)
    names = _compensation_names(choices, first)
    check_metric(metric, bound, x, labels)

    scores = []
    step = max(at_once, -(-chips // 20))
    for start in range(0, chips, step):
        indices = jnp.arange(start, start + step)  # the last block may run past the end: one shape, one compilation
        block = _score_chips(bound, key, indices, times_s, x, labels, tuple(choices), metric, batch_size, at_once)
        wanted = min(step, chips - start)
        scores.append(np.asarray(block)[:wanted])
        if on_progress is not None:
            on_progress(wanted)
    digital = score_digital(bound, x, labels, metric, batch_size)
    return _dataset(np.concatenate(scores), float(digital), times_s, names)


def _times(times: Any, cells: Any) -> np.ndarray:
    """Seconds as they were given, each once in float32, as the chips are read at."""
    if isinstance(times, str) or np.ndim(times) != 1 or not len(times):
        raise InputError(f"times = {times!r}: must be a sequence of times, for example ('1 s', '1 day')")
    times_s = np.array([float(check_time(t, cells)) for t in times]) + 0.0  # no minus zero
    values, counts = np.unique(times_s.astype(np.float32), return_counts=True)
    if counts.max() > 1:
        raise InputError(f"times = {times!r}: {show_time(float(values[counts.argmax()]))} is given more than once")
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


def _compensation_names(choices: list[str | None], cells: Any) -> list[str]:
    """What is done, by name: None is the hardware's own choice."""
    own = programmed_leaves(cells)[0][1].hardware.drift_compensation
    names = [own if choice is None else choice for choice in choices]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        hint = f" (None is this hardware's own, '{own}')" if None in choices else ""
        raise InputError(f"compensation = {tuple(choices)!r}: '{twice}' is given more than once{hint}")
    return names


def check_data(x: Any, labels: jax.Array) -> None:
    shapes = [a.shape for a in jax.tree.leaves(x)]
    if any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise InputError(f"x: shapes {shapes}: must be [n, ...], with one n for all inputs")
    if shapes[0][0] == 0:
        raise InputError(f"x: shape {shapes[0]}: holds no example")
    if labels.shape[:1] != shapes[0][:1]:
        raise InputError(f"labels: shape {labels.shape} does not match {shapes[0][0]} examples in x")


def check_metric(metric: Any, bound: Any, x: Any, labels: jax.Array) -> None:
    """Try the metric on shapes alone, before anything is computed."""
    if not callable(metric):
        raise InputError(f"metric = {metric!r}: must be a function metric(outputs, labels), or left out for accuracy")
    outputs = jax.eval_shape(lambda b, a: run_examples(lambda e, k: b.digital(e), a, jax.random.key(0), 1), bound, x)
    try:
        score = jax.eval_shape(lambda o, t: jnp.asarray(metric(o, t)), outputs, labels)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise InputError(
            "metric: needs the values of its arguments, but is compiled, so that they are not known yet; write it with "
            "jax.numpy instead of numpy, and without float(), bool() or 'if' on values"
        ) from error
    if score.shape != ():
        raise InputError(f"metric: returns shape {score.shape}: must be one number, for example the mean over examples")


def check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name} = {value!r}: must be a whole number and at least 1")


def chip_key(key: jax.Array, index: Any) -> jax.Array:
    return jax.random.fold_in(stream(key, "chips"), index)


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _score_chips(bound, key, indices, times_s, x, labels, choices, metric, batch_size, at_once):
    """Scores ``[chip, time, compensation]`` of the chips with these indices."""

    def score(chip_index):
        return score_chip(bound, key, chip_index, times_s, x, labels, choices, metric, batch_size)

    return lax.map(score, indices, batch_size=at_once)


def score_chip(
    bound: Any, key: jax.Array, chip_index: Any, times_s: Any, x: Any, labels: Any, choices: Sequence[str | None],
    metric: Callable[[Any, Any], Any], batch_size: int,
) -> Any:  # fmt: skip
    """Scores of one chip at every time and compensation: what ``metric`` gives, with leading axes [time, compensation].

    Args:
      bound: from ``models.bind``.
      key: of the whole evaluation; the chip and its noise follow from it and ``chip_index``.
      chip_index: which chip.
      times_s: ``[times]``.
      x, labels, metric, batch_size: as of ``evaluate``.
      choices: compensations; None is the hardware's own.
    """
    cells = bound.program(chip_key(key, chip_index))
    reads = jax.random.fold_in(stream(key, "reads"), chip_index)

    def score_at(time_s):
        # By the time itself, not its place in the list: a day is the same day beside other times.
        noise = jax.random.fold_in(reads, lax.bitcast_convert_type(time_s, jnp.uint32))
        at_time = []
        for choice in choices:
            readings = read(cells, time_s, choice, True)
            outputs = run_examples(lambda a, k: bound.run(readings, a, k), x, noise, batch_size)  # noqa: B023
            at_time.append(metric(outputs, labels))
        return jax.tree.map(lambda *scores: jnp.stack(scores), *at_time)

    return lax.map(score_at, jnp.asarray(times_s, jnp.float32))


@functools.partial(jax.jit, static_argnums=(3, 4))
def score_digital(bound, x, labels, metric, batch_size):
    return metric(run_examples(lambda a, k: bound.digital(a), x, jax.random.key(0), batch_size), labels)


def run_examples(function: Callable, x: Any, key: jax.Array, batch_size: int) -> jax.Array:
    """``function(batch_of_one, key)`` for every example, each with a key that depends only on its index."""

    def one(index_and_example):
        index, example = index_and_example
        single = jax.tree.map(lambda a: a[None], example)
        return function(single, jax.random.fold_in(key, index))[0]

    n = jax.tree.leaves(x)[0].shape[0]
    return lax.map(one, (jnp.arange(n), x), batch_size=min(batch_size, n))


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
