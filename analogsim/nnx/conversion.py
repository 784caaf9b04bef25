"""Convert a copy of an NNX model to analog hardware: fill hooks of layers, and replace layers without by twins."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT, Candidate, Matches, Rules, attending, cannot, holder
from analogsim.nnx.factored import Core
from analogsim.nnx.hookless import TWINS, AnalogConvTranspose, AnalogEmbed, original, twin
from analogsim.nnx.hooks import (
    HOOKS,
    AnalogAttend,
    AnalogConvGeneralDilated,
    AnalogEinsum,
    AnalogOp,
    AnalogTake,
    attach,
    matrix_of,
    path_of,
    stack_axes,
)

#: Classes of layers with a weight matrix.
MATRIX_LAYERS: tuple[type[nnx.Module], ...] = (*HOOKS, nnx.ConvTranspose, nnx.Embed)

#: The default values of Flax's hooks.
_PLAIN: dict[str, Any] = {
    "dot_general": lax.dot_general,
    "einsum_op": jnp.einsum,
    "conv_general_dilated": lax.conv_general_dilated,
}


def convert(model: nnx.Module, rules: Rules, strict: bool, rngs: nnx.Rngs | None = None) -> tuple[nnx.Module, set[str]]:
    """Return a copy of the model with the selected layers on analog hardware; see ``analogsim.convert``.

    Args:
      model: an NNX model; not modified.
      rules: ordered rules.
      strict: raise an error for a selected layer that cannot be converted, instead of leaving it digital.
      rngs: seeds the layers' noise streams.

    Returns:
      the copy, and the paths of doubtful parameters: matrices outside of any layer to which a rule assigns hardware.
      The model may multiply with them in its own code.

    Raises:
      InputError: for a rule that matches no layer, or with ``strict`` a layer that cannot be converted.
    """
    # recursive_map alone would copy the modules and share their Variables with the user's model (Flax 0.12).
    copy, matches, with_hook = nnx.clone(model), Matches(rules), tuple(HOOKS)
    chosen: dict[str, Hardware | None] = {}
    for layer in candidates(copy):
        if is_analog(layer):
            continue
        hardware, _ = matches.decide(layer)
        why = "" if hardware is None else obstacle(layer, hardware)
        if why and strict:
            raise cannot(layer, why)
        chosen[layer.path] = None if why else hardware
        if chosen[layer.path] is not None and _overrides_call(layer.module):
            matches.doubtful.add("kernel" if layer.path == ROOT else f"{layer.path}/kernel")

    def stream(node: Any) -> nnx.RngStream | None:
        lead = stack_axes(node)  # nnx.scan slices the stack, so every entry needs a separate stream
        return None if rngs is None else rngs["analog"].split(lead) if lead else rngs["analog"].fork()

    def op(kind: type[AnalogOp], hardware: Hardware | None, path: str, node: Any) -> AnalogOp | None:
        return None if hardware is None else kind(hardware, stream=stream(node), path=path)

    def visit(parts: tuple, node: Any) -> Any:
        path = path_of(parts)
        hardware, for_products = chosen.get(path), chosen.get(attending(path))
        if isinstance(node, with_hook) and hardware is not None:
            attach(node, hardware, stream=stream(node), path=path)
        elif isinstance(node, nnx.ConvTranspose) and hardware is not None:
            return twin(AnalogConvTranspose, node, analog_op=op(AnalogConvGeneralDilated, hardware, path, node))
        elif isinstance(node, nnx.Embed) and (hardware is not None or for_products is not None):
            take = op(AnalogTake, hardware, path, node)
            attend = op(AnalogAttend, for_products, attending(path), node)
            return twin(AnalogEmbed, node, analog_op=take, attend_op=attend)
        return node

    converted = nnx.recursive_map(visit, copy)
    matches.decide_about_parameters(parameters(converted))
    matches.check()
    return converted, matches.doubtful


def to_digital(model: nnx.Module) -> nnx.Module:
    """Return a copy with plain layers; see ``analogsim.to_digital``."""

    def visit(parts: tuple, node: Any) -> Any:
        del parts
        if type(node) in TWINS.values():
            return original(node)
        for kind, (name, _) in HOOKS.items():
            if isinstance(node, kind) and isinstance(getattr(node, name), AnalogOp):
                delattr(node, name)  # makes Flax 0.12 forget that the attribute was data, which a function is not
                setattr(node, name, None if kind is nnx.LinearGeneral else _PLAIN[name])
        return node

    return nnx.recursive_map(visit, nnx.clone(model))


def candidates(model: nnx.Module) -> Iterator[Candidate]:
    """Yield every layer of the model that has a matrix; ``attend`` of an Embed counts as a separate layer."""
    modules = dict(nnx.iter_modules(model))
    for parts, module in modules.items():
        if not isinstance(module, MATRIX_LAYERS):
            continue
        path, shape = path_of(parts), matrix_of(module)[...].shape
        within = tuple(modules[parts[:n]] for n in reversed(range(len(parts))) if parts[:n] in modules)
        part_of, stands_for = "", None
        if isinstance(module, Core):
            part_of, stands_for = path_of(parts[:-1]), getattr(within[0], "stands_for", None)
        yield Candidate(path, module, shape, within, part_of, stands_for)
        if isinstance(module, nnx.Embed):
            yield Candidate(attending(path), module, shape, within)


def is_analog(layer: Candidate) -> bool:
    """Return whether a layer already runs on analog hardware."""
    name = "attend_op" if attends(layer) else "analog_op"
    hooks = [getattr(layer.module, name, None)]
    hooks += [getattr(layer.module, hook, None) for kind, (hook, _) in HOOKS.items() if isinstance(layer.module, kind)]
    return any(isinstance(hook, AnalogOp) for hook in hooks)


def attends(layer: Candidate) -> bool:
    """Return whether a candidate is the product of ``Embed.attend``, not a layer whose name ends like its path."""
    return isinstance(layer.module, nnx.Embed) and layer.path == attending(holder(layer.path))


def obstacle(layer: Candidate, hardware: Hardware) -> str:
    """Return the reason why a layer cannot be converted; ``""`` if it can."""
    module = layer.module
    if isinstance(module, nnx.Embed) and not attends(layer) and hardware.bound_management != "none":
        return f"bound_management = {hardware.bound_management!r} widens input ranges, and a lookup has none"
    kind = next(kind for kind in MATRIX_LAYERS if isinstance(module, kind))
    if kind in TWINS and type(module) is not kind and not isinstance(module, TWINS[kind]):
        return f"its class is a subclass of {kind.__name__}, which may compute something else"
    if isinstance(module, nnx.Einsum):
        try:
            AnalogEinsum(hardware, stream=None, path=layer.path).layout(module, tuple(module.kernel_shape))
        except InputError as error:
            return str(error)
    taken = getattr(module, "dot_general_cls", None) is not None
    name = HOOKS[kind][0] if kind in HOOKS else None
    if taken or (name is not None and getattr(module, name) not in (None, _PLAIN[name])):
        return "its matmul hook is already set"
    return ""


def _overrides_call(module: nnx.Module) -> bool:
    """Return whether a subclass of a layer with a hook overrides ``__call__``, which then may not use the hook."""
    kind = next((kind for kind in HOOKS if isinstance(module, kind)), None)
    if kind is None or isinstance(module, nnx.LoRALinear):
        return False
    mro = type(module).__mro__
    return any("__call__" in vars(c) for c in mro[: mro.index(kind)])


def parameters(model: nnx.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield path and shape of every parameter that belongs to no analog layer and no factor of LoRA."""
    modules = dict(nnx.iter_modules(model))
    analog = [m for m in modules.values() if any(isinstance(v, AnalogOp) for v in vars(m).values())]
    of_layers = {id(value) for module in analog for value in vars(module).values()}  # the model may share them
    for parts, module in modules.items():
        if isinstance(module, (nnx.LoRA, AnalogOp)):
            continue
        for name, value in vars(module).items():
            if isinstance(value, nnx.Param) and id(value) not in of_layers:
                yield path_of((*parts, name)), jnp.shape(value[...])
