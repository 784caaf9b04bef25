"""Turn a product of an input with a parameter outside of any NNX layer into a layer that shares the parameter."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.signal_path.operators.product import explicit


def parameter_einsum(equation: str, parameter: nnx.Param, **options: Any) -> nnx.Einsum:
    """Build an ``nnx.Einsum`` that shares a parameter of the model, as in mixtures of experts or custom attention.

    Rules, chips and ranges treat it like any other layer. The parameter also stays where it was, and is trained once.

    Args:
      equation: equation of ``jnp.einsum`` with the input first, ``"bed,edf->bef"``; the output may be left out.
      parameter: the second operand.
      **options: arguments of ``nnx.Einsum``: ``precision``, ``dtype``.

    Returns:
      a layer with one argument, the input.

    Raises:
      InputError: if ``parameter`` is not an ``nnx.Param``.

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
    layer = nnx.Einsum(  # whose initial kernel, replaced below, is a scalar and takes no memory
        explicit(equation), shape, kernel_init=lambda *_: jnp.zeros(()), rngs=nnx.Rngs(params=0), **options
    )
    layer.kernel = parameter
    return layer
