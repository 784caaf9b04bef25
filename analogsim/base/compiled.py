"""``jax.jit`` for the parts of the library: one program, with the fixed numbers of descriptions written into it.

A function such as ``multiply`` is called in two ways. By a user, alone: then it is compiled once, and numbers such as
the noise of a converter are inputs of the program, so that another value needs no compilation. Or inside of a larger
program that is being traced, such as a training step: then numbers of the description that are known are constants, as
they are anyway in that program, which makes it smaller and quicker to trace; arrays and traced numbers remain inputs.
The trace is kept, so that equal layers of a deep network are traced once.
"""

import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from analogsim.base.draws import together
from analogsim.base.equality import HashedOnce

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Whether a function of this kind is being traced: those that it calls become a part of its program.
_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside a compiled function", default=False)
_INPUT = object()  # the place of an input among the fixed values


def compiled(static: tuple[str, ...] = ()) -> Callable[[_Function], _Function]:
    """Return a decorator that compiles a function, as the module describes, and draws its Gaussians together.

    Args:
      static: names of arguments that are never inputs of the program: choices and sizes. They must be hashable.

    Example:
      >>> @compiled(static=("axis",))
      ... def total(x, factor, axis):
      ...     return factor * x.sum(axis)
      >>> total(np.ones((2, 3)), 2.0, axis=0).tolist()
      [4.0, 4.0, 4.0]
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)

        def run(structure: HashedOnce, inputs: list[Any]) -> Any:
            constants, names, treedef, fixed = structure.value

            def of_inputs(*inputs: Any) -> Any:
                given = iter(inputs)
                leaves = [next(given) if value is _INPUT else value for _, value in fixed]
                token = _inside.set(True)
                try:
                    return function(**dict(constants), **dict(zip(names, treedef.unflatten(leaves), strict=True)))
                finally:
                    _inside.reset(token)

            return together(of_inputs)(*inputs)

        run.__name__ = run.__qualname__ = function.__name__  # seen in profiles and in the names of operations
        jitted = jax.jit(run, static_argnums=0)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _inside.get():
                return function(*args, **kwargs)
            given = signature.bind(*args, **kwargs).arguments
            constants = tuple((name, value) for name, value in given.items() if name in static)
            variable = {name: value for name, value in given.items() if name not in static}
            leaves, treedef = jax.tree.flatten(list(variable.values()))
            is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
            is_input = [_is_array(leaf) or (_is_number(leaf) and not is_traced) for leaf in leaves]
            # With the types, because 1 equals 1.0.
            fixed = tuple((None, _INPUT) if x else (type(leaf), leaf) for leaf, x in zip(leaves, is_input, strict=True))
            structure = HashedOnce((constants, tuple(variable), treedef, fixed))
            return jitted(structure, [leaf for leaf, x in zip(leaves, is_input, strict=True) if x])

        return call  # type: ignore[return-value]

    return decorate


def _is_array(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray, np.generic))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)
