"""Draw all Gaussian numbers of a function in one go.

A compiled draw takes about 230 operations, whatever its size, and a layer draws for its weights, its inputs, every row
of its tiles. The cipher is applied to a counter and a key, element by element (``analogsim.base.random``). So one draw
serves several sources: every element takes the key and the position in the stream of the source that it belongs to, and
gets the number that the source would draw alone.

The function is traced, the calls of ``standard_normal`` are found in its program by their name, and replaced by slices
of one draw.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from analogsim.base.once import stored
from analogsim.base.random import cipher, gaussians

_DRAW = "standard_normal"  # name of the function in ``base.random``, as it stands in a program
_MOST_KEYS = 16  # of one draw: each costs a few selections for every element of the common one


def together(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, which draws its Gaussians of different sources in one go.

    Draws inside loops, branches and functions that were compiled by themselves are left alone, and so are those for
    many keys at once and those that depend on other draws. Under a mesh of several devices (``jax.set_mesh``) every
    source draws by itself: the same numbers, in more operations and without communication.

    Args:
      function: of pytrees of arrays; its result is a pytree of arrays.

    Example:
      >>> from analogsim.base.random import normal, stream
      >>> def total(key):
      ...     return normal(stream(key, "a"), (3,)).sum() + normal(stream(key, "b"), (2, 2)).sum()
      >>> key = jax.random.key(0)
      >>> bool(jnp.allclose(together(total)(key), total(key)))
      True
    """

    @functools.wraps(function)
    def drawn_together(*args: Any) -> Any:
        # In parts of one flat draw the noise of a kernel and that of a batch would share one sharding, and XLA would
        # send most of it from device to device. Each by itself is drawn where the array lies that it is added to.
        if jax.sharding.get_abstract_mesh().size > 1:
            return function(*args)
        # A new function every time, because JAX caches traces by the function, without the context of this call.
        traced, shape = jax.make_jaxpr(lambda *args: function(*args), return_shape=True)(*args)
        results = _evaluated(traced, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return drawn_together


def _evaluated(traced: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    jaxpr = traced.jaxpr
    draws = [eqn for eqn in jaxpr.eqns if _is_draw(eqn)]
    keys = [eqn.invars[0] for eqn in draws]
    before = _needed_for(keys, jaxpr)
    if len(draws) < 2 or any(eqn is draw for eqn in before for draw in draws):
        return jaxpr_as_fun(traced)(*args)
    drawn = _draw(
        _run(jaxpr, before, jaxpr.invars, keys, traced.consts, args), [_shape(eqn.outvars[0]) for eqn in draws]
    )
    # What the keys follow from is computed again here; the compiler sees that it is the same.
    rest = [eqn for eqn in jaxpr.eqns if not any(eqn is draw for draw in draws)]
    inputs = [*jaxpr.invars, *(eqn.outvars[0] for eqn in draws)]
    return _run(jaxpr, rest, inputs, jaxpr.outvars, traced.consts, [*args, *drawn])


def _is_draw(eqn: JaxprEqn) -> bool:
    if eqn.params.get("name") != _DRAW:
        return False
    keys, numbers = (math.prod(_shape(v)) for v in (eqn.invars[0], eqn.outvars[0]))
    return keys <= _MOST_KEYS and numbers > 0


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _needed_for(variables: list[Any], jaxpr: Jaxpr) -> list[JaxprEqn]:
    """Return the equations that variables depend on, in order."""
    wanted, needed = {v for v in variables if isinstance(v, Var)}, []
    for eqn in reversed(jaxpr.eqns):
        if any(v in wanted for v in eqn.outvars):
            wanted.update(v for v in eqn.invars if not isinstance(v, Literal))
            needed.append(eqn)
    return needed[::-1]


def _run(
    jaxpr: Jaxpr, eqns: list[JaxprEqn], inputs: list[Var], outputs: list[Any], constants: Sequence[Any],
    values: Sequence[Any],
) -> list[Any]:  # fmt: skip
    """Evaluate some equations of a program."""
    effects = frozenset().union(*(eqn.effects for eqn in eqns)) if eqns else frozenset()
    part = Jaxpr(jaxpr.constvars, inputs, outputs, eqns, effects, jaxpr.debug_info.with_unknown_names())
    return jaxpr_as_fun(ClosedJaxpr(part, constants))(*values)


def _draw(keys: list[jax.Array], shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    """Return Gaussians of these shapes, one array a key (or a few keys, along the leading axes) from one draw."""
    single, sizes, ends = [], [], []
    for key, shape in zip(keys, shapes, strict=True):
        words = jax.random.key_data(key).reshape(-1, 3)
        single.append(words)
        sizes += [math.prod(shape) // len(words)] * len(words)
        ends.append(sum(sizes))
    flat = stored(_joint_normal(jnp.concatenate(single), tuple(sizes)))
    starts = [0, *ends[:-1]]
    return [flat[i:j].reshape(shape) for i, j, shape in zip(starts, ends, shapes, strict=True)]


@functools.partial(jax.jit, static_argnums=1)
def _joint_normal(keys: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """Return ``sizes[i]`` Gaussians of each key, given by its words ``[keys, 3]``, one after the other."""
    index = lax.iota(jnp.uint32, sum(sizes))
    first, *others = jnp.unstack(keys)
    a, b, c = first
    position, start = index, 0
    for words, size in zip(others, sizes, strict=False):
        start += size
        # Selections between two equal words disappear in the compiler.
        later = index >= np.uint32(start)
        a, b, c = (jnp.where(later, new, old) for new, old in zip(words, (a, b, c), strict=True))
        position = jnp.where(later, index - np.uint32(start), position)
    x, y = cipher((a, b), c, position)
    return gaussians(x ^ y)
