"""Weight clipping as Optax transformations: keeps weights where cells can hold them well.

A few large weights set the scale of a whole column and push all others towards zero, where the relative error of
cells is largest. Clipping each kernel, or each of its columns, to a multiple of its own standard deviation keeps the
range in use (Rasch et al., Nat. Commun. 14, 5282 (2023), doi 10.1038/s41467-023-40770-4).

The limit may be learned, as PACT learns that of activations (J. Choi et al., arXiv 1805.06085): the network uses
W = clip(V, -c, c), and a loss has

    dL/dV = dL/dW within the limit, 0 beyond it          dL/dc = sum over |V| > c of dL/dW sign(V)

With u what the rest of the chain would add to W (for gradient descent -rate dL/dW), a step is therefore

    V <- V + u where |V| <= c          c <- c + m (sum over |V| > c of u sign(V) - decay c)          W <- clip(V, -c, c)

The parameters hold W; V, which differs from it beyond the limit only, is kept in the optimiser's state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.training.selection import is_kernel, map_selected

_LEAST = 1e-6  # of a learned limit, relative to where it began


def clip_weights(
    limit: Any = None, *, sigmas: Any = None, per: str = "kernel", where: Any = is_kernel
) -> optax.GradientTransformationExtraArgs:
    """Keep kernels within ``[-limit, limit]``, or within ``sigmas`` standard deviations of each kernel or column.

    Put it last in an ``optax.chain``: it changes the update so that the weights after it obey the limit.

    Args:
      limit: largest absolute weight.
      sigmas: alternatively, a multiple of the standard deviation of each updated kernel or column.
      per: ``"kernel"`` or ``"column"`` (every output, the last axis): what has a standard deviation of its own.
      where: ``where(path, leaf) -> bool`` chooses the leaves; by default those named ``kernel``.

    Example:
      >>> tx = optax.chain(optax.sgd(1.0), clip_weights(0.5))
      >>> params = {"kernel": jnp.array([[0.4]])}
      >>> updates, _ = tx.update({"kernel": jnp.array([[-3.0]])}, tx.init(params), params)
      >>> float(optax.apply_updates(params, updates)["kernel"][0, 0])
      0.5
    """
    _check_limit("clip_weights", limit, sigmas, per)

    def update(updates: Any, state: Any, params: Any = None, **_: Any) -> tuple[Any, Any]:
        olds = _known("clip_weights", params)

        def clip(index: int, change: jax.Array) -> jax.Array:
            new = olds[index] + change
            bound = limit if sigmas is None else sigmas * jnp.std(new, axis=_axes(new, per), keepdims=True)
            return jnp.clip(new, -bound, bound) - olds[index]

        return map_selected(clip, updates, where), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


class LearnedClipState(NamedTuple):
    """State of ``learned_clip``, by the position of a kernel among the parameters' leaves.

    Attributes:
      limits: c, ``[1, ..., n_out]`` or ``[1, ..., 1]``; ``optax.tree_utils.tree_get(state, "limits")``.
      beyond: how far V lies outside of its limit, like the kernel; 0 within.
    """

    limits: dict[int, jax.Array]
    beyond: dict[int, jax.Array]


def learned_clip(
    initial: Any = None, *, sigmas: Any = None, learning_rate: Any = 1.0, decay: Any = 0.0, per: str = "column",
    where: Any = is_kernel,
) -> optax.GradientTransformationExtraArgs:  # fmt: skip
    """Keep kernels within limits that are learned with them; see the module for the equations.

    Put it last in an ``optax.chain``.

    Args:
      initial: the limits at first.
      sigmas: alternatively, a multiple of the standard deviation of each kernel or column at first.
      learning_rate: m, of the limits relative to that of the weights.
      decay: pull towards zero; without it a limit falls only where the weights at it do.
      per: ``"column"`` or ``"kernel"``: what has a limit of its own.
      where: as of ``clip_weights``.

    Example:
      >>> tx = optax.chain(optax.sgd(1.0), learned_clip(0.5))
      >>> params = {"kernel": jnp.array([[0.75], [0.1]])}
      >>> updates, state = tx.update({"kernel": jnp.array([[-0.25], [0.0]])}, tx.init(params), params)
      >>> float(optax.tree_utils.tree_get(state, "limits")[0][0, 0])      # the first weight, clipped to 0.5, wants out
      0.75
    """
    _check_limit("learned_clip", initial, sigmas, per)
    for name, value in (("learning_rate", learning_rate), ("decay", decay)):
        check_number(value, name, ge=0)

    def first(params: Any) -> LearnedClipState:
        limits, beyond = {}, {}

        def note(index: int, leaf: jax.Array) -> jax.Array:
            spread = jnp.std(leaf, axis=_axes(leaf, per), keepdims=True)
            limits[index] = sigmas * spread if initial is None else jnp.full_like(spread, initial)
            beyond[index] = leaf - jnp.clip(leaf, -limits[index], limits[index])
            return leaf

        map_selected(note, params, where)
        return LearnedClipState(limits, beyond)

    def update(updates: Any, state: LearnedClipState, params: Any = None, **_: Any) -> tuple[Any, LearnedClipState]:
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


def _known(name: str, params: Any) -> list[jax.Array]:
    if params is None:
        raise InputError(f"{name} needs the parameters: tx.update(gradients, state, params)")
    return jax.tree.leaves(params)


def _check_limit(where: str, limit: Any, sigmas: Any, per: Any) -> None:
    first = "limit" if where == "clip_weights" else "initial"
    if (limit is None) == (sigmas is None):
        raise InputError(f"{where}: give either {first} or sigmas, not both and not none")
    for name, value in ((first, limit), ("sigmas", sigmas)):
        if value is not None:
            check_number(value, name, gt=0)
    if per not in ("kernel", "column"):
        raise InputError(f"{where}: per = {per!r}: must be one of 'kernel', 'column'")
