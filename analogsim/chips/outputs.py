"""Outputs of a model for a batch: any pytree of arrays with an axis of examples.

The model runs on single examples, each with a separate noise key, and the outputs are joined to those of a batch. The
shapes for one example and for two show how:

    [1, ...] and [2, ...]      one row per example             joined [n, ...]
    [T, ...] and [2 T, ...]    T rows per example (tokens)     joined [n T, ...]

An output that does not grow (a mean over the batch, a loss) has no axis of examples and raises an error with its name.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.call_inputs import apart, map_examples
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree


def output_name(path: tuple) -> str:
    """Return the name of an output from its key path: ``output``, ``output[0]``, ``output['logits']``."""
    return f"output{jax.tree_util.keystr(path)}"


def check_outputs(function: Callable[..., Any], x: Any) -> None:
    """Check that the first axis of every output is the axis of examples, from shapes.

    Args:
      function: ``function(x) -> outputs``; only traced, not run.
      x: ``Inputs``, ``[n, ...]`` each unless ``Shared``.

    Raises:
      InputError: for the first output without an axis of examples, by name, or if there is no output.
    """
    one, two = (jax.eval_shape(function, _shapes(x, n)) for n in (1, 2))
    structure: Any
    leaves, structure = jax.tree_util.tree_flatten_with_path(one)
    if not leaves:
        raise InputError("output: the model returns no array to score")
    alike = structure == jax.tree.structure(two)
    for (path, first), second in zip(leaves, jax.tree.leaves(two), strict=alike):
        rest = first.shape[1:] == second.shape[1:] and bool(first.shape) and bool(second.shape)
        if not alike or not rest or second.shape[0] != 2 * first.shape[0] or not first.shape[0]:
            raise InputError(
                f"{output_name(path)}: has shape {first.shape} for one example and {second.shape} for two: its first "
                f"axis must be the axis of examples; change the model, or give batched=True to score its outputs for "
                f"all of x at once"
            )


def _shapes(x: Any, n: int) -> Any:
    """Return the shapes of inputs with ``n`` examples; ``Shared`` inputs are unchanged."""
    return map_examples(lambda a: jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype), x)


def run_examples(function: Callable[..., Any], x: Any, key: jax.Array, batch_size: int | None) -> Any:
    """Call a function for every example, with a key that depends only on the example's index, and join the outputs.

    Args:
      function: ``function(x, key) -> outputs`` for one example, with ``x`` ``[1, ...]``; returns a pytree of arrays
        whose first axis is the axis of examples (``check_outputs``).
      x: ``Inputs``, ``[n, ...]`` each; ``Shared`` ones are passed unsplit.
      key: one random key.
      batch_size: number of examples computed together; None calls the function once, with all of ``x`` and ``key``.

    Returns:
      The outputs, ``[n, ...]`` each, or ``[n T, ...]`` for T rows per example.
    """
    if batch_size is None:
        return function(x, key)
    arrays, together = apart(x)
    n = arrays[0].shape[0]

    def one(index_and_example):
        index, example = index_and_example
        # lax.map removes the axis of examples, which the model expects.
        return function(together([a[None] for a in example]), jax.random.fold_in(key, index))

    outputs = lax.map(one, (jnp.arange(n), arrays), batch_size=min(batch_size, n))
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), outputs)


def holds_nan(tree: PyTree) -> jax.Array:
    """Return whether any number of a tree is NaN. Traceable."""
    floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(a), jnp.inexact)]
    return jnp.any(jnp.stack([jnp.any(jnp.isnan(a)) for a in floats])) if floats else jnp.asarray(False)
