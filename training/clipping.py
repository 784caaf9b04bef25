"""Weight clipping as an Optax transformation: keeps weights where cells can hold them well.

A few large weights set the scale of a whole column and push all others towards zero, where the relative error of
cells is largest. Clipping each kernel to a multiple of its own standard deviation keeps the range in use (Rasch et
al., Nat. Commun. 14, 5282 (2023), doi 10.1038/s41467-023-40770-4).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from analogsim.devices.errors import InputError
from analogsim.training.selection import check_number, is_kernel, map_selected


def clip_weights(
    limit: Any = None, *, sigmas: Any = None, where: Any = is_kernel
) -> optax.GradientTransformationExtraArgs:
    """Keep kernels within ``[-limit, limit]``, or within ``sigmas`` standard deviations of each kernel.

    Put it last in an ``optax.chain``: it changes the update so that the weights after it obey the limit.

    Args:
      limit: largest absolute weight.
      sigmas: alternatively, a multiple of the standard deviation of each updated kernel.
      where: ``where(path, leaf) -> bool`` chooses the leaves; by default those named ``kernel``.

    Example:
      >>> tx = optax.chain(optax.sgd(1.0), clip_weights(0.5))
      >>> params = {"kernel": jnp.array([[0.4]])}
      >>> updates, _ = tx.update({"kernel": jnp.array([[-3.0]])}, tx.init(params), params)
      >>> float(optax.apply_updates(params, updates)["kernel"][0, 0])
      0.5
    """
    if (limit is None) == (sigmas is None):
        raise InputError("clip_weights: give either limit or sigmas, not both and not none")
    for name, value in (("limit", limit), ("sigmas", sigmas)):
        if value is not None:
            check_number(value, name, "greater than 0", allowed=lambda v: v > 0)

    def update(updates: Any, state: Any, params: Any = None, **_: Any) -> tuple[Any, Any]:
        if params is None:
            raise InputError("clip_weights needs the parameters: tx.update(gradients, state, params)")
        olds = jax.tree.leaves(params)

        def clip(index: int, change: jax.Array) -> jax.Array:
            new = olds[index] + change
            bound = limit if sigmas is None else sigmas * jnp.std(new)
            return jnp.clip(new, -bound, bound) - olds[index]

        return map_selected(clip, updates, where), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
