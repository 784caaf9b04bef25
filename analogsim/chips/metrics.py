"""Scores of outputs: accuracy, and what any metric must be, compiled or in Python."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Shared, array, count_examples, input_name
from analogsim.base.errors import InputError, brief
from analogsim.chips.outputs import holds_nan


def accuracy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of labels that are the index of the largest output. outputs ``[n, ..., classes]``, labels ``[n, ...]``.

    NaN where an output is NaN, or a label is no class: the largest of numbers that are none, or a class that is not
    there, would count as right or wrong by chance.

    Raises:
      InputError: where labels are not one class number for each vector of outputs (``[n, 1]`` or one-hot labels would
        otherwise be compared all with all).
    """
    if not hasattr(outputs, "ndim"):
        raise InputError(
            f"outputs = {type(outputs).__name__}: accuracy takes one array; choose it, "
            f"metric=lambda outputs, labels: accuracy(outputs[0], labels)"
        )
    if not hasattr(labels, "shape"):
        raise InputError(f"labels = {type(labels).__name__}: accuracy takes one array of class numbers")
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
    outputs, labels = jnp.asarray(outputs), jnp.asarray(labels)
    right = jnp.mean(jnp.argmax(outputs, axis=-1) == labels)
    known = (labels >= 0) & (labels < outputs.shape[-1]) & (labels == jnp.floor(labels))
    return jnp.where(holds_nan(outputs) | ~jnp.all(known), jnp.nan, right)


def check_labels(labels: Any, n: int, on_host: bool = False) -> Any:
    """Labels, one for each of n examples: arrays of finite numbers, or, for a metric in Python, as they are.

    Raises:
      InputError: for another number of them, and for numbers that are not finite.
    """
    if on_host:
        if not hasattr(labels, "__len__") or (not isinstance(labels, dict | tuple) and len(labels) != n):
            have = f"{len(labels)} of them do" if hasattr(labels, "__len__") else f"{brief(labels)} does"
            raise InputError(f"labels: {have} not match {n} examples in x")
        return labels
    written_out = isinstance(labels, list)
    labels = array(labels, "labels") if written_out else jax.tree.map(lambda a: array(a, "labels"), labels)
    for a in jax.tree.leaves(labels) or [jnp.zeros(())]:
        if a.shape[:1] != (n,):
            raise InputError(f"labels: shape {a.shape} does not match {n} examples in x")
        if jnp.issubdtype(a.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(a))):
            at = [int(i) for i in np.argwhere(~np.isfinite(np.asarray(a)))[0]]
            raise InputError(f"labels: {a[tuple(at)]} at {at}: must be finite")
    return labels


def check_data(x: Any, labels: Any, on_host: bool = False) -> Any:
    """The labels, as ``check_labels`` gives them, of inputs that ``check_inputs`` takes."""
    return check_labels(labels, check_inputs(x), on_host)


def check_classes(labels: Any, classes: int) -> None:
    """Refuse labels for accuracy that are no number of a class."""
    found = np.asarray(labels)
    odd = np.argwhere(~((found >= 0) & (found < classes) & (found == np.floor(found.astype(np.float64)))))
    if odd.size:
        at = [int(i) for i in odd[0]]
        raise InputError(f"labels: {found[tuple(at)]} at {at}: must be an integer between 0 and {classes - 1}, a class")


def check_inputs(x: Any, name: str = "x") -> int:
    """How many examples there are; refuses inputs that are not finite, by name.

    Keywords and what is shared may hold infinities, which masks are made of.
    """
    n = count_examples(x, name)
    leaves = jax.tree_util.tree_leaves_with_path(x, is_leaf=lambda a: isinstance(a, Shared))
    for path, leaf in leaves:
        mask = isinstance(leaf, Shared) or path[0] == jax.tree_util.GetAttrKey("kwargs")
        for a in jax.tree.leaves(leaf):
            if not jnp.issubdtype(a.dtype, jnp.inexact):
                continue
            bad = np.argwhere(np.asarray(jnp.isnan(a) if mask else ~jnp.isfinite(a)))
            if bad.size:
                at = [int(i) for i in bad[0]]
                rule = "no NaN" if mask else "finite"
                raise InputError(f"{input_name(path, len(x.args), name)}: {a[tuple(at)]} at {at}: must be {rule}")
    return n


def check_metric(metric: Any, outputs: Any, labels: Any, on_host: bool = False) -> None:
    """Try a metric on shapes alone, before anything is computed; one in Python is only looked at.

    Args:
      metric: what was given.
      outputs: their shapes, for all examples.
      labels: as of ``check_labels``.
      on_host: whether it is called with NumPy arrays.
    """
    if not callable(metric):
        raise InputError(f"metric = {metric!r}: must be a function metric(outputs, labels), or left out for accuracy")
    if on_host:
        return
    try:
        score = jax.eval_shape(lambda o, t: jnp.asarray(metric(o, t)), outputs, labels)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise InputError(
            "metric: needs the values of its arguments, but is compiled, so that they are not known yet; give "
            "on_host=True, or write it with jax.numpy instead of numpy, and without float(), bool() or 'if' on values"
        ) from error
    if score.shape != ():
        raise InputError(f"metric: returns shape {score.shape}: must be one number, for example the mean over examples")
    if metric is accuracy:
        check_classes(labels, outputs.shape[-1])


def guarded(metric: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The metric, or numbers by name, as NaN where an output is NaN."""

    def score(outputs: Any, labels: Any) -> Any:
        bad = holds_nan(outputs)
        return jax.tree.map(lambda s: jnp.where(bad, jnp.nan, s), metric(outputs, labels))

    return score


def on_numpy(metric: Callable[[Any, Any], Any], outputs: Any, labels: Any) -> float:
    """One number of a metric in Python, given NumPy arrays; NaN where an output is NaN.

    Raises:
      InputError: for what is no number.
    """
    outputs = jax.tree.map(np.asarray, outputs)
    floats = [a for a in jax.tree.leaves(outputs) if jnp.issubdtype(a.dtype, jnp.inexact)]
    if any(np.isnan(a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)).any() for a in floats):
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
    """Refuse scores ``[chip, time, compensation]`` that are no finite numbers, naming the first of them."""
    bad = np.argwhere(~np.isfinite(scores))
    if bad.size:
        chip, time, which = bad[0]
        raise InputError(
            f"{metric}: is {scores[tuple(bad[0])]} on chip {first_chip + chip} at {times[time]} (compensation "
            f"'{compensations[which]}'), and finite on the exact model: its outputs there hold NaN, or the metric "
            f"divides by zero; look at that chip with program(model, variables, chip_key(key, {first_chip + chip}))"
        )
