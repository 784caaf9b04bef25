"""Accuracy of hundreds of sampled, ageing chips, in one compiled program.

Chips are mapped over, not looped over: one compilation serves every chip, time and set of weights. Each example has
its own noise key, derived from its index, so the numbers do not depend on how chips or examples are batched.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.chip import check_compensation, check_finite, check_key, check_time, key_shape, read
from analogsim.devices.errors import InputError
from analogsim.devices.random import stream
from analogsim.devices.units import show_time
from analogsim.models import bind, program_jit, programmed_leaves

if TYPE_CHECKING:
    import xarray

#: From a second to ten years after programming.
LIFETIME = ("1 s", "1 h", "1 day", "1 month", "1 year", "10 years")


def accuracy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of examples whose largest output is the label. outputs ``[n, classes]``, labels ``[n]``."""
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
      times: times after programming, seconds or text such as ``"1 day"``. All are read from the same chip.
      compensation: drift compensation, ``"none"``, ``"global"`` or ``"column"``; several share their chips.
      metric: ``metric(outputs, labels) -> number`` over the whole of ``x``; accuracy by default.
      batch_size: examples computed together; changes memory and speed, not the numbers.
      chips_at_once: chips computed together; by default one on a CPU, where it is fastest, and eight elsewhere.
      on_progress: called with the number of chips just finished.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      A dataset with ``score`` over (compensation, chip, time) and the exact model's ``digital`` score. Noise of reads
      is drawn anew at every time and is the same across compensations.
    """
    check_key(key)
    if key_shape(key) != ():
        raise InputError(f"key = {key!r}: must be one key, from which the chips' keys follow; give chips=n for n chips")
    if isinstance(times, str) or not len(times):
        raise InputError(f"times = {times!r}: must be a sequence of times, for example ('1 s', '1 day')")
    choices = [compensation] if compensation is None or isinstance(compensation, str) else list(compensation)
    if not choices:
        raise InputError("compensation = (): must name at least one")
    for choice in choices:
        check_compensation(choice)
    _check_count("chips", chips)
    _check_count("batch_size", batch_size)
    at_once = (1 if jax.default_backend() == "cpu" else 8) if chips_at_once is None else chips_at_once
    _check_count("chips_at_once", at_once)
    x, labels = jax.tree.map(jnp.asarray, (x if isinstance(x, tuple) else np.asarray(x), np.asarray(labels)))
    n = jax.tree.leaves(x)[0].shape[0]
    if labels.shape[:1] != (n,):
        raise InputError(f"labels: shape {labels.shape} does not match {n} examples in x")

    bound = bind(model, variables, x, options)
    first = program_jit(bound, _chip_key(key, 0))
    if not programmed_leaves(first):
        raise InputError("the model has no analog layer: build it with AnalogDense, or convert(model, hardware)")
    check_finite(first)
    times_s = np.array([float(check_time(t, first)) for t in times], dtype=np.float32)

    scores = []
    step = max(at_once, -(-chips // 20))
    for start in range(0, chips, step):
        indices = jnp.arange(start, start + step)  # the last block may run past the end: one shape, one compilation
        block = _score_chips(bound, key, indices, times_s, x, labels, tuple(choices), metric, batch_size, at_once)
        wanted = min(step, chips - start)
        scores.append(np.asarray(block)[:wanted])
        if on_progress is not None:
            on_progress(wanted)
    digital = _score_digital(bound, x, labels, metric, batch_size)
    return _dataset(np.concatenate(scores), float(digital), times_s, choices, first)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name} = {value!r}: must be a whole number and at least 1")


def _chip_key(key: jax.Array, index: Any) -> jax.Array:
    return jax.random.fold_in(stream(key, "chips"), index)


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _score_chips(bound, key, indices, times_s, x, labels, choices, metric, batch_size, at_once):
    """Scores ``[chip, time, compensation]`` of the chips with these indices."""

    def score(chip_index):
        cells = bound.program(_chip_key(key, chip_index))
        reads = jax.random.fold_in(stream(key, "reads"), chip_index)

        def score_at(time_index):
            noise = jax.random.fold_in(reads, time_index)
            at_time = []
            for choice in choices:
                readings = read(cells, times_s[time_index], choice, True)
                outputs = run_examples(lambda a, k: bound.run(readings, a, k), x, noise, batch_size)  # noqa: B023
                at_time.append(metric(outputs, labels))
            return jnp.stack(at_time)

        return lax.map(score_at, jnp.arange(times_s.shape[0]))

    times_s = jnp.asarray(times_s)
    return lax.map(score, indices, batch_size=at_once)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _score_digital(bound, x, labels, metric, batch_size):
    return metric(run_examples(lambda a, k: bound.digital(a), x, jax.random.key(0), batch_size), labels)


def run_examples(function: Callable, x: Any, key: jax.Array, batch_size: int) -> jax.Array:
    """``function(batch_of_one, key)`` for every example, each with a key that depends only on its index."""

    def one(index_and_example):
        index, example = index_and_example
        single = jax.tree.map(lambda a: a[None], example)
        return function(single, jax.random.fold_in(key, index))[0]

    n = jax.tree.leaves(x)[0].shape[0]
    return lax.map(one, (jnp.arange(n), x), batch_size=min(batch_size, n))


def _dataset(scores, digital, times_s, choices, cells):
    import xarray

    names = [c or programmed_leaves(cells)[0][1].hardware.drift_compensation for c in choices]
    data = xarray.Dataset(
        {
            "score": (("compensation", "chip", "time"), np.moveaxis(scores, -1, 0)),
            "digital": ((), digital),
        },
        coords={
            "compensation": names,
            "chip": np.arange(scores.shape[0]),
            "time": ("time", times_s.astype(float), {"units": "s", "long_name": "time after programming"}),
            "time_label": ("time", [show_time(float(t)) for t in times_s]),
        },
        attrs={"jax": jax.__version__, "backend": jax.default_backend()},
    )
    data["score"].attrs = {"long_name": "score on programmed chips", "units": "1"}
    data["digital"].attrs = {"long_name": "score of the exact model", "units": "1"}
    return data
