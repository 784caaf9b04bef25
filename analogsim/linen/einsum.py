"""Products with a parameter outside of Flax's layers: mixtures of experts, attention written by hand.

``analog_einsum`` replaces ``jnp.einsum`` inside a module's method. The parameter stays in its module; rules, chips,
ranges and summaries treat it as a layer, whose path is the path of the module and the parameter's name.
"""

import contextvars
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import _context
from jax.lax import PrecisionLike

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT
from analogsim.linen.hooks import AnalogEinsum, check_hardware, layer_path
from analogsim.signal_path.operators import einsum as einsum_operator
from analogsim.signal_path.operators.product import explicit

#: Returns the hardware of a product in a model that is being converted: (product, path, shape, obstacle) -> hardware.
deciding: contextvars.ContextVar[Callable[..., Hardware | None] | None] = contextvars.ContextVar(
    "deciding", default=None
)


class ParameterProduct(nn.Module):
    """Stands for a product with a parameter in a ``Candidate``, so that rules can select it; not part of the model."""

    equation: str


def analog_einsum(
    equation: str,
    x: jax.Array,
    kernel: jax.Array,
    *,
    name: str | None = None,
    hardware: Hardware | None = None,
    precision: PrecisionLike | None = None,
) -> jax.Array:
    """Compute ``jnp.einsum`` of an input and a parameter on analog hardware, inside a method of a Linen module.

    A letter that input, parameter and output share is a batch axis, with one matrix per entry, such as an expert. The
    parameter may be transposed, cast or normalised beforehand; the array stores the operand of the product. Products
    with one-hot inputs are computed as products; to look up rows, use ``nn.Embed``.

    Args:
      equation: as for ``jnp.einsum``, the input first: ``"bed,edf->bef"``. ``x @ w`` is ``"...d,df->...f"``, and
        ``lax.dot_general`` over the last axis of ``w`` is ``"...f,df->...d"``.
      x: the input, with the axes of the equation's first operand.
      kernel: a parameter of the module, or an array computed from parameters; axes of the second operand.
      name: name of the product; required unless ``kernel`` is itself a parameter of the module, whose name is then the
        default. Products with the same name share one array and must have the same layout on it.
      hardware: stores the kernel. None: the hardware that ``convert`` selects; without ``convert``, digital.
      precision: as for ``jnp.einsum``.

    Returns:
      The product, with the axes of the equation's output.

    Raises:
      InputError: outside of a Linen module, for an equation that is not a product of matrices, or for a kernel without
        a name.

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
    module = _context.module_stack[-1]  # internal to Flax (0.12): the module whose method is running, or None
    if module is None or module.scope is None:
        raise InputError("analog_einsum: must be called inside a method of a Linen module")
    equation = explicit(equation)
    check_hardware(hardware, "analog_einsum")
    name = _name_of(module, kernel) if name is None else name
    above = layer_path(module)
    path = name if above == ROOT else f"{above}/{name}"
    decide = deciding.get()
    if hardware is None and decide is not None:
        # parent=None: otherwise Flax would make the product a child of the module whose method is running.
        product, shape = ParameterProduct(equation, parent=None), jnp.shape(kernel)
        hardware = decide(product, path, shape, lambda on: product_obstacle(equation, x, shape, on, path))
    if hardware is None or module.is_initializing():
        return jnp.einsum(equation, x, kernel, precision=precision)
    # reuse: the name may be taken, by the parameter itself or by an earlier product of the same name.
    scope: Any = module.scope.push(name, reuse=True).push("analog", reuse=True)
    x, kernel = nn.dtypes.promote_dtype(x, kernel)
    return AnalogEinsum(hardware, parent=scope)(equation, x, kernel, precision)


def product_obstacle(equation: str, x: jax.Array, shape: tuple[int, ...], hardware: Hardware, path: str) -> str:
    """Return why hardware cannot compute an einsum of ``x`` with a kernel of this shape; ``""`` if it can."""
    try:
        jax.eval_shape(lambda a: einsum_operator(equation, a, shape, hardware, path)[1], x)
    except InputError as error:
        return str(error)
    return ""


def _name_of(module: Any, kernel: Any) -> str:
    for name, value in module.scope.variables().get("params", {}).items():
        if nn.meta.unbox(value) is kernel or value is kernel:
            return name
    raise InputError(
        f"analog_einsum: layer {layer_path(module)}: the second operand is not itself a parameter of this module; give "
        f"it a name, which identifies its array on the chip"
    )
