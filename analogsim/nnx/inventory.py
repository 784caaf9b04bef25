"""List the layers of an NNX model, and the products with parameters outside of layers."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from analogsim.base.call_inputs import Inputs
from analogsim.base.types import PyTree
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory, inventory
from analogsim.nnx.chips import analog_ops, stack_shape
from analogsim.nnx.conversion import attends, candidates, convert, is_analog, obstacle
from analogsim.nnx.hooks import AnalogOp, matrix_of, path_of, written


def inventory_of(model: nnx.Module, x: Inputs | None, options: Mapping[str, Any] | None = None) -> Inventory:
    """List the layers and products of an NNX model.

    Args:
      model: an NNX model; not modified.
      x: inputs, of which only the shapes are used. Without them, layers are listed in the order of the model's
        attributes, and products outside of layers are not found.
      options: keyword arguments of the model's call.
    """
    layers = {layer.path: layer for layer in candidates(model)}
    digital = {
        path: (layer.kind, layer.shape, obstacle(layer, Hardware()) or "no rule, or one with None")
        for path, layer in layers.items()
        if not is_analog(layer)
    }
    kinds = {path: type(layer.module).__name__.removeprefix("Analog") for path, layer in layers.items()}
    # Equal for layers that share a parameter; ``attend`` paths belong to the layer of their table.
    shared = {path: id(matrix_of(layer.module)) for path, layer in layers.items() if not attends(layer)}
    if x is None:
        listed = [_listed(path, module, op) for path, (module, op) in analog_ops(model).items()]
        # Only a call shows whether a table is attended to, so digital ``attend`` paths are left out.
        order = [path for path, layer in layers.items() if path not in digital or not attends(layer)]
        return Inventory(listed, digital, order, kinds, [], shared)
    # Digital layers get ideal hooks, too, so that they record themselves and take their place in the order of use.
    everything = convert(model, ((".*", Hardware()),), strict=False)[0] if digital else model
    graph, parameters, *others = nnx.split(everything, nnx.Param, ...)

    def run(parameters: PyTree, inputs: Inputs) -> Any:
        return inputs.call(nnx.merge(graph, parameters, *others, copy=True), **(options or {}))

    factors = {path_of(parts) for parts, module in nnx.iter_modules(model) if isinstance(module, nnx.LoRA)}
    owners = {holder(path) if attends(layers[path]) else path for path in digital}
    seen = inventory(run, parameters, (x,), owners | factors)
    analog = [listed for listed in seen.layers if listed.path not in digital]
    unused = [path for path in digital if path not in seen.order and not attends(layers[path])]
    return Inventory(analog, digital, [*seen.order, *unused], kinds, seen.strays, shared)


def _listed(path: str, module: nnx.Module, op: AnalogOp) -> modes.ListedLayer:
    """Return the shapes of a layer from its settings, without a call."""
    shape = matrix_of(module)[...].shape[len(stack_shape(module, path)) :]
    operator = op.layout(module, shape)
    kernel = jax.eval_shape(lambda k: written(module, k), jax.ShapeDtypeStruct(shape, "float32"))
    matrices = jax.eval_shape(operator.matrix, kernel).shape
    return modes.ListedLayer(path, op.hardware, operator, shape, matrices)
