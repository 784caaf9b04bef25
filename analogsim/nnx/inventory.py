"""The layers of an NNX model, for summaries and for finding products outside of layers."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from analogsim.base.call_inputs import Inputs
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory, inventory
from analogsim.nnx.chips import analog_ops, stack_shape
from analogsim.nnx.conversion import candidates, convert, is_analog, obstacle, path_of
from analogsim.nnx.hooks import written


def inventory_of(model: nnx.Module, x: Inputs | None, options: Mapping[str, Any] | None = None) -> Inventory:
    """The tour of an NNX model called with these inputs; without inputs, its layers in the order of its attributes."""
    found = {layer.path: layer for layer in candidates(model)}
    digital = {
        path: (layer.kind, layer.shape, obstacle(layer, Hardware()) or "no rule, or one with None")
        for path, layer in found.items()
        if not is_analog(layer)
    }
    kinds = {path: type(layer.module).__name__.removeprefix("Analog") for path, layer in found.items()}
    shared = _sharing(model)
    if x is None:
        listed = {path: _listed(path, module, op) for path, (module, op) in analog_ops(model).items()}
        idle = {path for path in digital if path != holder(path)}  # who attends is seen only in a run
        order = [path for path in found if path not in idle]
        return Inventory(list(listed.values()), digital, order, kinds, [], shared)
    # Layers that are digital note themselves from hooks, too, so that they have a place in the order of use.
    everything = convert(model, ((".*", Hardware()),), strict=False)[0] if digital else model
    graph, parameters, *others = nnx.split(everything, nnx.Param, ...)

    def run(parameters: Any, inputs: Inputs) -> Any:
        return inputs.call(nnx.merge(graph, parameters, *others, copy=True), **(options or {}))

    factors = {path_of(parts) for parts, module in nnx.iter_modules(model) if isinstance(module, nnx.LoRA)}
    seen = inventory(run, parameters, (x,), {*map(holder, digital), *factors})
    layers = [listed for listed in seen.layers if listed.path not in digital]
    unseen = [path for path in digital if path not in seen.order and path == holder(path)]
    return Inventory(layers, digital, [*seen.order, *unseen], kinds, seen.strays, shared)


def _sharing(model: nnx.Module) -> dict[str, int]:
    """Which parameter each layer multiplies with, a number by path: equal for layers that share one."""
    layers = [layer for layer in candidates(model) if layer.path == holder(layer.path)]
    return {layer.path: id(getattr(layer.module, _table_name(layer.module))) for layer in layers}


def _table_name(module: Any) -> str:
    return "embedding" if isinstance(module, nnx.Embed) else "kernel"


def _listed(path: str, module: Any, op: Any) -> modes.ListedLayer:
    """A layer by its own settings."""
    name = _table_name(module)
    shape = getattr(module, name)[...].shape[len(stack_shape(module, path)) :]
    operator, _ = op.layout(module, shape)
    kernel = jax.eval_shape(lambda k: written(module, name, k), jax.ShapeDtypeStruct(shape, "float32"))
    matrices = jax.eval_shape(operator.matrix, kernel).shape
    return modes.ListedLayer(path, op.hardware, operator, shape, matrices)
