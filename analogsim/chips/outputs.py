"""What a model returns for a batch: any pytree of arrays, and where its examples are.

The model runs on single examples, each with a key of its own, and what it returns for them is put together to what it
returns for a batch. Shapes for one example and for two tell how: an axis that doubles is the batch's,

    [1, ...] and [2, ...]      one row an example          together [n, ...]
    [T, ...] and [2 T, ...]    T rows an example, tokens   together [n T, ...]

and an output that does not grow (a mean over the batch, a loss) has no examples: it is refused by its name.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.call_inputs import apart, map_examples
from analogsim.base.errors import InputError


def output_name(path: tuple) -> str:
    """An output's name by its key path: ``output``, ``output[0]``, ``output['logits']``."""
    return f"output{jax.tree_util.keystr(path)}"


def check_outputs(function: Callable[..., Any], x: Any) -> None:
    """Refuse a model whose outputs are no batch of examples.

    Args:
      function: ``function(x) -> outputs``, traced by shapes alone.
      x: inputs with examples.

    Raises:
      InputError: names the output.
    """
    one, two = (jax.eval_shape(function, _of(x, n)) for n in (1, 2))
    structure: Any
    leaves, structure = jax.tree_util.tree_flatten_with_path(one)
    if not leaves:
        raise InputError("output: the model returns no array, of which there is no score")
    others = jax.tree.leaves(two)
    alike = structure == jax.tree.structure(two)
    for (path, first), second in zip(leaves, others, strict=alike):
        rest = first.shape[1:] == second.shape[1:] and bool(first.shape) and bool(second.shape)
        if not alike or not rest or second.shape[0] != 2 * first.shape[0] or not first.shape[0]:
            raise InputError(
                f"{output_name(path)}: has shape {first.shape} for one example and {second.shape} for two: its first "
                f"axis must be that of the examples; let the model return one, or give batched=True, which scores what "
                f"it returns for all of x at once"
            )


def _of(x: Any, n: int) -> Any:
    """The inputs' shapes with n examples; what they share as it is."""
    return map_examples(lambda a: jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype), x)


def run_examples(function: Callable[..., Any], x: Any, key: jax.Array, batch_size: int | None) -> Any:
    """``function(x_of_one, key)`` of every example, each with a key that depends only on its index, as of a batch.

    Args:
      function: gives a pytree of arrays whose first axis is that of its examples.
      x: a pytree of arrays ``[n, ...]``, ``Shared`` ones among them as they are.
      key: a random key.
      batch_size: examples computed together; None calls the function once with all of ``x``, and the key.
    """
    if batch_size is None:
        return function(x, key)
    arrays, together = apart(x)
    n = arrays[0].shape[0]

    def one(index_and_example):
        index, example = index_and_example
        return function(together([a[None] for a in example]), jax.random.fold_in(key, index))

    found = lax.map(one, (jnp.arange(n), arrays), batch_size=min(batch_size, n))
    return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), found)


def holds_nan(tree: Any) -> jax.Array:
    """Whether any number of the tree is NaN; may be traced."""
    floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(a), jnp.inexact)]
    return jnp.any(jnp.stack([jnp.any(jnp.isnan(a)) for a in floats])) if floats else jnp.asarray(False)
