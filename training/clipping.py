"""Weight clipping as Optax transformations, so that weights use the range of the cells well.

A few large weights set the scale of a whole column and push all others towards zero, where the relative error of cells
is largest. Clipping each kernel, or each column, to a multiple of its standard deviation keeps the range in use (Rasch
et al., Nat. Commun. 14, 5282 (2023), doi 10.1038/s41467-023-40770-4).

The limit may be learned, as PACT does for activations (J. Choi et al., arXiv 1805.06085): the network uses
W = clip(V, -c, c), and a loss has

    dL/dV = dL/dW within the limit, 0 beyond it          dL/dc = sum over |V| > c of dL/dW sign(V)

With u the update of W from the rest of the chain (for gradient descent -rate dL/dW), a step is therefore

    V <- V + u where |V| <= c          c <- c + m (sum over |V| > c of u sign(V) - decay c)          W <- clip(V, -c, c)

The parameters hold W; the optimiser state holds how V differs from W, which it does only beyond the limit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.training.selection import is_kernel, map_selected

_LEAST = 1e-6  # a limit may shrink to this fraction in one step, so that it never crosses zero


def clip_weights(
    limit: Any = None, *, sigmas: Any = None, per: str = "kernel", where: Any = is_kernel
) -> optax.GradientTransformationExtraArgs:
    """Clip kernels to ``[-limit, limit]``, or to ``sigmas`` standard deviations of each kernel or column.

    Put it last in an ``optax.chain``: it changes the update so that the updated weights are within the limit.

    Args:
      limit: largest absolute weight.
      sigmas: alternatively, a multiple of the standard deviation of each updated kernel or column.
      per: ``"kernel"``, or ``"column"`` for one standard deviation per output (the last axis).
      where: ``where(path, leaf) -> bool`` selects the leaves; by default those named ``kernel``.

    Returns:
      an Optax transformation; its ``update`` needs the parameters.

    Raises:
      InputError: unless exactly one of ``limit`` and ``sigmas`` is given, greater than 0.

    Example:
      >>> tx = optax.chain(optax.sgd(1.0), clip_weights(0.5))
      >>> params = {"kernel": jnp.array([[0.4]])}
      >>> updates, _ = tx.update({"kernel": jnp.array([[-3.0]])}, tx.init(params), params)
      >>> float(optax.apply_updates(params, updates)["kernel"][0, 0])
      0.5
    """
    _check_limit("clip_weights", limit, sigmas, per)

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **_: Any) -> tuple[Any, Any]:
        olds = _known("clip_weights", params)

        def clip(index: int, change: jax.Array) -> jax.Array:
            new = olds[index] + change
            bound = limit if sigmas is None else sigmas * jnp.std(new, axis=_axes(new, per), keepdims=True)
            return jnp.clip(new, -bound, bound) - olds[index]

        return map_selected(clip, updates, where), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class LearnedClipState(NamedTuple):
    """State of ``learned_clip``, by the index of a kernel among the parameters' leaves.

    Attributes:
      limits: c, ``[1, ..., n_out]`` or ``[1, ..., 1]``; ``optax.tree_utils.tree_get(state, "limits")``.
      beyond: V - clip(V, -c, c), in the shape of the kernel; 0 within the limit.
    """

    limits: dict[int, jax.Array]
    beyond: dict[int, jax.Array]


def learned_clip(
    initial: Any = None, *, sigmas: Any = None, learning_rate: Any = 1.0, decay: Any = 0.0, per: str = "column",
    where: Any = is_kernel,
) -> optax.GradientTransformationExtraArgs:  # fmt: skip
    """Clip kernels to learned limits; see the module's docstring for the equations.

    Put it last in an ``optax.chain``.

    Args:
      initial: initial limits.
      sigmas: alternatively, a multiple of the initial standard deviation of each kernel or column.
      learning_rate: m, learning rate of the limits relative to that of the weights.
      decay: decay of the limits; without it a limit shrinks only if the weights beyond it are pulled inwards.
      per: ``"column"`` or ``"kernel"``: one limit per output or per kernel.
      where: see ``clip_weights``.

    Returns:
      an Optax transformation with the state ``LearnedClipState``; its ``update`` needs the parameters.

    Raises:
      InputError: unless exactly one of ``initial`` and ``sigmas`` is given, greater than 0.

    Example:
      >>> tx = optax.chain(optax.sgd(1.0), learned_clip(0.5))
      >>> params = {"kernel": jnp.array([[0.75], [0.1]])}
      >>> updates, state = tx.update({"kernel": jnp.array([[-0.25], [0.0]])}, tx.init(params), params)
      >>> float(optax.tree_utils.tree_get(state, "limits")[0][0, 0])      # the first weight is clipped to 0.5
      0.75
    """
    _check_limit("learned_clip", initial, sigmas, per)
    for name, value in (("learning_rate", learning_rate), ("decay", decay)):
        check_number(value, name, ge=0)

    def first(params: PyTree) -> LearnedClipState:
        limits, beyond = {}, {}

        def note(index: int, leaf: jax.Array) -> jax.Array:
            std = jnp.std(leaf, axis=_axes(leaf, per), keepdims=True)
            limits[index] = sigmas * std if initial is None else jnp.full_like(std, initial)
            beyond[index] = leaf - jnp.clip(leaf, -limits[index], limits[index])
            return leaf

        map_selected(note, params, where)
        return LearnedClipState(limits, beyond)

    def update(
        updates: PyTree, state: LearnedClipState, params: PyTree = None, **_: Any
    ) -> tuple[Any, LearnedClipState]:
        olds, limits, beyond = _known("learned_clip", params), {}, {}

        def clip(index: int, change: jax.Array) -> jax.Array:
            c, outside = state.limits[index], state.beyond[index]
            clipped = outside != 0
            pull = jnp.sum(jnp.where(clipped, change * jnp.sign(outside), 0), axis=_axes(change, per), keepdims=True)
            hidden = jnp.clip(olds[index], -c, c) + jnp.where(clipped, outside, change)
            limits[index] = jnp.maximum(c + learning_rate * (pull - decay * c), _LEAST * c)
            new = jnp.clip(hidden, -limits[index], limits[index])
            beyond[index] = hidden - new
            return new - olds[index]

        return map_selected(clip, updates, where), LearnedClipState(limits, beyond)

    return optax.GradientTransformationExtraArgs(first, update)


def _axes(leaf: jax.Array, per: str) -> tuple[int, ...]:
    return tuple(range(leaf.ndim - 1 if per == "column" else leaf.ndim))


def _known(name: str, params: PyTree) -> list[jax.Array]:
    if params is None:
        raise InputError(f"{name} needs the parameters: tx.update(gradients, state, params)")
    # In the order of the updates' leaves, which `map_selected` numbers: both trees have the same structure.
    return jax.tree.leaves(params)


def _check_limit(where: str, limit: Any, sigmas: Any, per: Any) -> None:
    first = "limit" if where == "clip_weights" else "initial"
    if (limit is None) == (sigmas is None):
        raise InputError(f"{where}: give exactly one of {first} and sigmas")
    for name, value in ((first, limit), ("sigmas", sigmas)):
        if value is not None:
            check_number(value, name, gt=0)
    if per not in ("kernel", "column"):
        raise InputError(f"{where}: per = {per!r}: must be one of 'kernel', 'column'")
