"""Batch normalisation on a programmed chip: running statistics re-estimated from the chip's activations.

Errors of the cells shift and scale the inputs of a normalisation, so that the running statistics of the digital model
no longer match. Re-estimating them needs a few hundred inputs, no labels and no writing (V. Joshi et al., Nat. Commun.
11, 2473 (2020), doi 10.1038/s41467-020-16108-9).

By the law of total variance, batches b with n_b of n examples give the statistics of all examples,

    mean = sum_b n_b/n m_b          variance = sum_b n_b/n (v_b + (m_b - mean)^2)

A layer reports its batch's statistics through its running average, r' = momentum r + (1 - momentum) m_b. That is linear
in r: running the same batch, with the same noise, from r = 0 and from r = 1 gives momentum and m_b, for any setting of
the layer. Later layers see inputs normalised by their batch, as in training.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.call_inputs import count_examples, inputs_of, map_examples
from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key
from analogsim.base.types import PyTree
from analogsim.chips.chip import Chip
from analogsim.chips.metrics import check_inputs
from analogsim.models.bound import bind
from analogsim.models.protocol import BoundModel
from analogsim.training.fitting import path_names


def reestimate_batch_norm(
    model: Any, variables: PyTree, x: Any, *, chip: Chip | None = None, key: jax.Array | None = None,
    batch_size: int = 128, **options: Any,
) -> Any:  # fmt: skip
    """Re-estimate the running statistics of every batch normalisation from ``x``.

    Args:
      model: a Linen model, or an NNX model on a chip (``analogsim.nnx.on_chip``).
      variables: a Linen model's variables, ignored if there is a chip, which has its own; None for NNX.
      x: inputs without labels (``analogsim.Inputs``), ``[n, ...]`` each.
      chip: chip that a Linen model runs on, at its read time; None for the digital model.
      key: random key of a Linen model's read noise; None if reading is noiseless.
      batch_size: examples that are normalised together.
      **options: keyword arguments with which the model normalises by its batch, for example ``train=True``; none that
        draw random numbers, such as those of dropout.

    Returns:
      Linen: the chip with new statistics among its variables, or, without a chip, the variables. NNX: a copy of the
      model.

    Raises:
      InputError: for a model without running statistics, or options under which they do not change.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> class Net(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, train=False):
      ...         return nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))
      >>> x = jax.random.normal(jax.random.key(0), (300, 4))
      >>> variables = Net().init(jax.random.key(1), x)
      >>> new = reestimate_batch_norm(Net(), variables, x, train=True)
      >>> bool((new["batch_stats"]["BatchNorm_0"]["mean"] != 0).all())
      True
    """
    x, options = inputs_of(x, options)
    check_inputs(x)
    check_integer(batch_size, "batch_size")
    if key is not None:
        check_one_key(key)
    if chip is not None and not isinstance(chip, Chip):
        raise InputError(f"chip = {chip!r}: must be a chip from analogsim.program(model, variables, key), or None")
    if chip is not None and chip.digital is None:
        raise InputError("an NNX model holds its chip; call reestimate_batch_norm(on_chip(model, chip), None, x)")
    bound = bind(model, variables if chip is None else chip.digital, options=options)
    collections, readings = bound.collections(), None if chip is None else chip.readings
    if not jax.tree.leaves(collections.get("batch_stats", {})):
        raise InputError("model: has no running statistics (batch_stats) to re-estimate")

    def with_statistics(stats: PyTree) -> BoundModel:
        return bound.with_collections({**collections, "batch_stats": stats})

    def statistics(stats: PyTree, batch: Any, number: int) -> Any:
        batch_key = None if key is None else jax.random.fold_in(key, number)
        return _statistics_after(with_statistics(stats), batch, batch_key, readings)

    new = with_statistics(_estimated(statistics, collections["batch_stats"], x, batch_size))
    model, variables = new.unbind()
    if chip is not None:
        return dataclasses.replace(chip, digital=variables)
    return model if variables is None else variables


# Module-level, with weights and readings as arguments: other chips, weights and keys compile nothing.
_statistics_after = jax.jit(lambda bound, x, key, readings: bound.statistics_after(x, key, readings))


def _estimated(statistics: Callable[[Any, Any, int], Any], stats: PyTree, x: Any, batch_size: int) -> Any:
    """Combine the statistics of batches to those of all examples, by the equations of the module."""
    n = count_examples(x)
    zeros, ones = jax.tree.map(jnp.zeros_like, stats), jax.tree.map(jnp.ones_like, stats)
    parts, fractions, momentum = [], [], None
    for number, start in enumerate(range(0, n, batch_size)):
        batch = map_examples(lambda a, s=start: a[s : s + batch_size], x)
        from_zero = statistics(zeros, batch, number)
        if momentum is None:
            # The same batch and number, so the same read noise: only r differs.
            momentum = jax.tree.map(lambda a, b: a - b, statistics(ones, batch, number), from_zero)
            if any(bool(jnp.any(m > 1 - 1e-6)) for m in jax.tree.leaves(momentum)):
                raise InputError(
                    "options: the running statistics do not change under them; pass the options of training, for "
                    "example train=True"
                )
        parts.append(jax.tree.map(lambda a, m: a / (1 - m), from_zero, momentum))
        fractions.append(min(batch_size, n - start) / n)

    def average(*values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.stack([f * value for f, value in zip(fractions, values, strict=True)]), axis=0)

    mean = jax.tree.map(average, *parts)
    between = jax.tree.map(lambda m, *values: average(*((v - m) ** 2 for v in values)), mean, *parts)
    by_path = {tuple(path_names(path)): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(between)}

    def total(path: tuple, leaf: jax.Array) -> jax.Array:
        names = path_names(path)
        # The last of the two names: a layer may be called mean or var, too.
        last = max((i for i, name in enumerate(names) if name in ("mean", "var")), default=None)
        if last is None or names[last] == "mean":
            return leaf
        return leaf + by_path[(*names[:last], "mean", *names[last + 1 :])]  # variance of batch means

    return jax.tree_util.tree_map_with_path(total, mean)
