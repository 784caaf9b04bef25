"""Products of an input with a parameter that no Flax layer holds: mixtures of experts, attention written by hand.

``analog_einsum`` stands in the place of ``jnp.einsum`` inside a module's method. The parameter stays where it is, and
is a layer of its own for rules, chips, ranges and summaries: its path is the module's and its name.
"""

import contextvars
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import _context

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT
from analogsim.linen.hooks import AnalogEinsum, layer_path
from analogsim.signal_path.operators import einsum as einsum_operator
from analogsim.signal_path.operators.product import explicit

#: What decides about a product in a model that is being converted: (product, path, shape, obstacle) -> hardware.
deciding: contextvars.ContextVar[Callable[..., Hardware | None] | None] = contextvars.ContextVar(
    "deciding", default=None
)


class ParameterProduct(nn.Module):
    """What rules see of a product with a parameter; no module of the model."""

    equation: str


def analog_einsum(
    equation: str,
    x: jax.Array,
    kernel: jax.Array,
    *,
    name: str | None = None,
    hardware: Hardware | None = None,
    precision: Any = None,
) -> jax.Array:
    """``jnp.einsum`` of an input and a parameter, on analog hardware; inside a Linen module's method.

    A letter that input, parameter and output share is a batch axis: a matrix for each of its entries, such as an
    expert. The parameter may be transposed, cast or normalised beforehand; what is multiplied with is what is written.
    A product with a one-hot input is a product; look rows up with ``nn.Embed``.

    Args:
      equation: of ``jnp.einsum``, the input first: ``"bed,edf->bef"``. ``x @ w`` is ``"...d,df->...f"``, and a
        ``lax.dot_general`` over the last axis of ``w`` is ``"...f,df->...d"``.
      x: the input.
      kernel: the parameter, or what is computed of parameters.
      name: of the parameter, by which the product is known; needed where ``kernel`` is not itself a parameter of the
        module. One name is one array, however often it is used with one equation.
      hardware: what the parameter is stored on; None for what ``convert`` says, and digital without it.
      precision: as of ``jnp.einsum``.

    Raises:
      InputError: for an equation that is no product of matrices, and for a parameter without a name.

    Example:
      >>> from analogsim import convert, preset, program
      >>> class Experts(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x):                                      # [batch, expert, features]
      ...         w = self.param("w", nn.initializers.normal(), (3, x.shape[-1], 5))
      ...         return analog_einsum("bed,edf->bef", x, w)
      >>> model, x = Experts(), jnp.ones((2, 3, 4))
      >>> variables = model.init(jax.random.key(0), x)
      >>> analog = convert(model, preset("pcm"))
      >>> chip = program(analog, variables, jax.random.key(1), x)
      >>> analog.apply(chip.variables, x, rngs={"analog": jax.random.key(2)}).shape
      (2, 3, 5)
    """
    module = _context.module_stack[-1]
    if module is None or module.scope is None:
        raise InputError("analog_einsum: must be called inside a method of a Linen module")
    equation = explicit(equation)
    if hardware is not None and not isinstance(hardware, Hardware):
        raise InputError(f"analog_einsum: hardware = {hardware!r}: must be a Hardware such as preset('pcm'), or None")
    name = _name_of(module, kernel) if name is None else name
    above = layer_path(module)
    path = name if above == ROOT else f"{above}/{name}"
    decide = deciding.get()
    if hardware is None and decide is not None:
        shape = jnp.shape(kernel)

        def obstacle(on: Hardware) -> str:
            try:
                jax.eval_shape(lambda a: einsum_operator(equation, a, shape, on, path)[1], x)
            except InputError as error:
                return str(error)
            return ""

        hardware = decide(ParameterProduct(equation, parent=None), path, shape, obstacle)
    if hardware is None or module.is_initializing():
        return jnp.einsum(equation, x, kernel, precision=precision)
    scope: Any = module.scope.push(name, reuse=True).push("analog", reuse=True)
    x, kernel = nn.dtypes.promote_dtype(x, kernel)
    return AnalogEinsum(hardware, parent=scope)(equation, x, kernel, precision)


def _name_of(module: Any, kernel: Any) -> str:
    for name, value in module.scope.variables().get("params", {}).items():
        if nn.meta.unbox(value) is kernel or value is kernel:
            return name
    raise InputError(
        f"analog_einsum: layer {layer_path(module)}: the second operand is not itself a parameter of this module; give "
        f"it a name, for its place on the chip"
    )
