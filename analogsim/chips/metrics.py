"""Accuracy, and checks of metrics, of the data they score and of their scores."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Shared, array, count_examples, input_name
from analogsim.base.errors import InputError, brief
from analogsim.base.processes import all_finite, whole
from analogsim.chips.outputs import holds_nan


def accuracy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the fraction of labels that equal the index of the largest output.

    The result is NaN if an output is NaN or a label is not a class: the largest of NaNs is undefined, and a class that
    does not exist would always count as wrong.

    Args:
      outputs: ``[n, ..., classes]``, at least two classes.
      labels: class numbers from 0, ``[n, ...]``.

    Raises:
      InputError: unless there is one label per vector of outputs. Labels ``[n, 1]`` or one-hot labels would otherwise
        be broadcast against all predictions.

    Example:
      >>> float(accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])))
      0.5
    """
    if not hasattr(outputs, "ndim"):
        raise InputError(
            f"outputs = {type(outputs).__name__}: accuracy takes one array; select it with "
            f"metric=lambda outputs, labels: accuracy(outputs[0], labels)"
        )
    if not hasattr(labels, "shape"):
        raise InputError(f"labels = {type(labels).__name__}: accuracy takes one array of class numbers")
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        raise InputError(
            f"outputs of shape {outputs.shape}: accuracy needs two or more outputs per example; give another metric"
        )
    if labels.shape != outputs.shape[:-1]:
        raise InputError(
            f"labels: shape {labels.shape}: accuracy needs one class number per example, shape "
            f"{outputs.shape[:-1]} for outputs of shape {outputs.shape}"
            + ("; convert one-hot labels with labels.argmax(-1)" if labels.shape == outputs.shape else "")
        )
    outputs, labels = jnp.asarray(outputs), jnp.asarray(labels)
    score = jnp.mean(jnp.argmax(outputs, axis=-1) == labels)
    valid = (labels >= 0) & (labels < outputs.shape[-1]) & (labels == jnp.floor(labels))
    return jnp.where(holds_nan(outputs) | ~jnp.all(valid), jnp.nan, score)


def check_labels(labels: Any, n: int, on_host: bool = False) -> Any:
    """Check labels, ``[n, ...]`` each, and convert them to arrays; with ``on_host`` they are returned unchanged.

    Raises:
      InputError: for another number of labels, or numbers that are not finite.
    """
    if on_host:
        if not hasattr(labels, "__len__") or (not isinstance(labels, dict | tuple) and len(labels) != n):
            given = f"{len(labels)} of them do" if hasattr(labels, "__len__") else f"{brief(labels)} does"
            raise InputError(f"labels: {given} not match {n} examples in x")
        return labels
    is_list = isinstance(labels, list)  # one array written as nested lists, not a pytree
    labels = array(labels, "labels") if is_list else jax.tree.map(lambda a: array(a, "labels"), labels)
    for a in jax.tree.leaves(labels) or [np.zeros(())]:
        if a.shape[:1] != (n,):
            raise InputError(f"labels: shape {a.shape} does not match {n} examples in x")
        if jnp.issubdtype(a.dtype, jnp.inexact) and not all_finite(a):
            at = [int(i) for i in np.argwhere(~np.isfinite(whole(a)))[0]]
            raise InputError(f"labels: {a[tuple(at)]} at {at}: must be finite")
    return labels


def check_data(x: Any, labels: Any, on_host: bool = False) -> Any:
    """Check inputs and labels with ``check_inputs`` and ``check_labels``, and return the labels."""
    return check_labels(labels, check_inputs(x), on_host)


def check_classes(labels: Any, classes: int) -> None:
    """Raise ``InputError`` for the first label that is not the number of one of ``classes`` classes."""
    given = whole(labels)
    bad = np.argwhere(~((given >= 0) & (given < classes) & (given == np.floor(given.astype(np.float64)))))
    if bad.size:
        at = [int(i) for i in bad[0]]
        raise InputError(f"labels: {given[tuple(at)]} at {at}: must be an integer between 0 and {classes - 1}, a class")


def check_inputs(x: Any, name: str = "x") -> int:
    """Return the number of examples of ``Inputs``.

    Raises:
      InputError: for a value that is not finite. Keyword and ``Shared`` inputs may be infinite, as masks are.
    """
    n = count_examples(x, name)
    leaves = jax.tree_util.tree_leaves_with_path(x, is_leaf=lambda a: isinstance(a, Shared))
    for path, leaf in leaves:
        mask = isinstance(leaf, Shared) or path[0] == jax.tree_util.GetAttrKey("kwargs")
        for a in jax.tree.leaves(leaf):
            if not jnp.issubdtype(a.dtype, jnp.inexact) or all_finite(a):
                continue
            values = whole(a)
            bad = np.argwhere(np.isnan(values) if mask else ~np.isfinite(values))
            if bad.size:
                at = [int(i) for i in bad[0]]
                rule = "no NaN" if mask else "finite"
                raise InputError(f"{input_name(path, len(x.args), name)}: {a[tuple(at)]} at {at}: must be {rule}")
    return n


def check_metric(metric: Any, outputs: Any, labels: Any, on_host: bool = False) -> None:
    """Check a metric by evaluating it on shapes; with ``on_host``, only that it can be called.

    Args:
      metric: ``metric(outputs, labels)``.
      outputs: shapes of the outputs for all examples.
      labels: labels from ``check_labels``.
      on_host: whether the metric is called in Python.

    Raises:
      InputError: for a metric that is not a function, needs values while it is compiled, or returns several numbers;
        for ``accuracy`` also for labels that are not classes.
    """
    if not callable(metric):
        raise InputError(f"metric = {metric!r}: must be a function metric(outputs, labels), or left out for accuracy")
    if on_host:
        return
    try:
        score = jax.eval_shape(lambda o, t: jnp.asarray(metric(o, t)), outputs, labels)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise InputError(
            "metric: needs the values of its arguments, which are unknown while it is compiled; give on_host=True, or "
            "write it with jax.numpy instead of numpy, and without float(), bool() or 'if' on values"
        ) from error
    if score.shape != ():
        raise InputError(f"metric: returns shape {score.shape}: must be one number, for example the mean over examples")
    if metric is accuracy:
        check_classes(labels, outputs.shape[-1])


def guarded(metric: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a metric (of one number or a pytree of numbers) that gives NaN if an output is NaN."""

    def score(outputs: Any, labels: Any) -> Any:
        bad = holds_nan(outputs)
        return jax.tree.map(lambda s: jnp.where(bad, jnp.nan, s), metric(outputs, labels))

    return score


def on_numpy(metric: Callable[[Any, Any], Any], outputs: Any, labels: Any) -> float:
    """Call a metric in Python with NumPy arrays and return its score; NaN, without a call, if an output is NaN.

    Raises:
      InputError: if the metric does not return one real number.
    """
    outputs = jax.tree.map(whole, outputs)
    # jnp.issubdtype: for NumPy's own function, bfloat16 is not a floating-point type.
    floats = [a for a in jax.tree.leaves(outputs) if jnp.issubdtype(a.dtype, jnp.inexact)]
    if any(np.isnan(a).any() for a in floats):
        return float("nan")
    score = metric(outputs, labels)
    if np.shape(score) != ():
        raise InputError(
            f"metric: returns shape {np.shape(score)}: must be one number, for example the mean over examples"
        )
    if not isinstance(score, (numbers.Real, np.bool_)) and not (
        hasattr(score, "dtype") and (np.issubdtype(score.dtype, np.number) or score.dtype == bool)
    ):
        raise InputError(f"metric: returned {brief(score)}: must be one real number")
    return float(score)


def check_scores(
    scores: np.ndarray, first_chip: int, times: Sequence[str], compensations: Sequence[str], metric: str = "metric"
) -> None:
    """Raise ``InputError`` for the first score of ``[chips, times, compensations]`` that is not finite."""
    bad = np.argwhere(~np.isfinite(scores))
    if bad.size:
        chip, time, which = bad[0]
        raise InputError(
            f"{metric}: is {scores[tuple(bad[0])]} on chip {first_chip + chip} at {times[time]} (compensation "
            f"'{compensations[which]}'), but finite on the digital model: the chip's outputs hold NaN, or the metric "
            f"divides by zero; inspect the chip with program(model, variables, chip_key(key, {first_chip + chip}))"
        )
