"""Products of an input with a parameter that no NNX layer holds, as a layer that shares the parameter."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.signal_path.operators.product import explicit


def parameter_einsum(equation: str, parameter: nnx.Param, **options: Any) -> nnx.Einsum:
    """An ``nnx.Einsum`` on a parameter of the model's own, which stays where it is: mixtures of experts, attention.

    The layer is a module like any other, for rules, chips and ranges; the parameter is one, trained once.

    Args:
      equation: of ``jnp.einsum``, the input first, explicit or not: ``"bed,edf->bef"``.
      parameter: what multiplies.
      **options: as of ``nnx.Einsum``: ``precision``, ``dtype``.

    Example:
      >>> import jax
      >>> from analogsim import convert, preset, program
      >>> class Experts(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.w = nnx.Param(jax.random.normal(rngs.params(), (3, 4, 5)))
      ...         self.multiply = parameter_einsum("bed,edf->bef", self.w)
      ...     def __call__(self, x):
      ...         return self.multiply(x)
      >>> analog = convert(Experts(nnx.Rngs(0)), preset("ideal"))
      >>> list(program(analog, key=jax.random.key(1)).cells)
      ['multiply']
    """
    if not isinstance(parameter, nnx.Param):
        raise InputError(f"parameter = {type(parameter).__name__}: must be an nnx.Param of the model")
    shape = tuple(parameter.get_value().shape)
    layer = nnx.Einsum(
        explicit(equation), shape, kernel_init=lambda *_: jnp.zeros(()), rngs=nnx.Rngs(params=0), **options
    )
    layer.kernel = parameter
    return layer
