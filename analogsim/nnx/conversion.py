"""An NNX model on analog hardware: a copy whose layers have their hooks filled, or are twins with hooks."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import (
    ROOT,
    Candidate,
    Matches,
    Rules,
    attending,
    cannot,
    holder,
)
from analogsim.nnx.chips import stack_axes
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
)

#: Layers that hold a matrix, and the name of the parameter that is one.
MATRIX_LAYERS: dict[type, str] = {**dict.fromkeys(HOOKS, "kernel"), nnx.ConvTranspose: "kernel", nnx.Embed: "embedding"}

#: What Flax's hooks hold by themselves.
_PLAIN: dict[str, Any] = {
    "dot_general": lax.dot_general,
    "einsum_op": jnp.einsum,
    "conv_general_dilated": lax.conv_general_dilated,
}

STRAY = "the model multiplies with this parameter outside of any layer that is known"


def convert(model: nnx.Module, rules: Rules, strict: bool, rngs: nnx.Rngs | None = None) -> tuple[nnx.Module, set[str]]:
    """A copy of the model with matching layers on analog hardware, and the paths of doubtful parameters.

    These are matrices that a rule asks hardware for and no layer holds: the model may multiply with them by itself.
    """
    copy, matches = nnx.clone(model), Matches(rules)
    chosen: dict[str, Hardware | None] = {}
    for layer in candidates(copy):
        if is_analog(layer):
            continue
        hardware, _ = matches.decide(layer)
        why = "" if hardware is None else obstacle(layer, hardware)
        if why and strict:
            raise cannot(layer, why)
        chosen[layer.path] = None if why else hardware
        if chosen[layer.path] is not None and _has_own_call(layer.module):
            matches.doubtful.add("kernel" if layer.path == ROOT else f"{layer.path}/kernel")

    def stream(node: Any) -> nnx.RngStream | None:
        lead = stack_axes(node)  # a scan takes a stream of each entry's own
        return None if rngs is None else rngs["analog"].split(lead) if lead else rngs["analog"].fork()

    def op(kind: type[AnalogOp], hardware: Hardware | None, path: str, node: Any) -> AnalogOp | None:
        return None if hardware is None else kind(hardware, stream=stream(node), path=path)

    def visit(parts: tuple, node: Any) -> Any:
        path, layer = path_of(parts), node
        hardware, for_products = chosen.get(path), chosen.get(attending(path))
        if isinstance(node, tuple(HOOKS)) and hardware is not None:
            attach(layer, hardware, stream=stream(layer), path=path)
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
    """A copy of plain layers; see ``analogsim.to_digital``."""

    def visit(parts: tuple, node: Any) -> Any:
        del parts
        if type(node) in TWINS.values():
            return original(node)
        for kind, (name, _) in HOOKS.items():
            if isinstance(node, kind) and isinstance(getattr(node, name), AnalogOp):
                delattr(node, name)
                setattr(node, name, None if kind is nnx.LinearGeneral else _PLAIN[name])
        return node

    return nnx.recursive_map(visit, nnx.clone(model))


def candidates(model: nnx.Module) -> Iterator[Candidate]:
    """Every layer of the model that holds a matrix, ``attend`` of an Embed as one of its own."""
    modules = {parts: module for parts, module in nnx.iter_modules(model)}
    for parts, module in modules.items():
        name = next((name for kind, name in MATRIX_LAYERS.items() if isinstance(module, kind)), None)
        if name is None:
            continue
        path, shape = path_of(parts), getattr(module, name)[...].shape
        within = tuple(modules[parts[:n]] for n in reversed(range(len(parts))) if parts[:n] in modules)
        part_of, stands_for = "", None
        if isinstance(module, Core):
            part_of, stands_for = path_of(parts[:-1]), getattr(within[0], "stands_for", None)
        yield Candidate(path, module, shape, within, part_of, stands_for)
        if isinstance(module, nnx.Embed):
            yield Candidate(attending(path), module, shape, within)


def is_analog(layer: Candidate) -> bool:
    """Whether a layer runs on analog hardware already."""
    name = "attend_op" if _attends(layer) else "analog_op"
    hooks = [getattr(layer.module, name, None)]
    hooks += [getattr(layer.module, hook, None) for kind, (hook, _) in HOOKS.items() if isinstance(layer.module, kind)]
    return any(isinstance(hook, AnalogOp) for hook in hooks)


def _attends(layer: Candidate) -> bool:
    return isinstance(layer.module, nnx.Embed) and layer.path == attending(holder(layer.path))


def obstacle(layer: Candidate, hardware: Hardware) -> str:
    """Why a layer cannot be converted; nothing where it can."""
    module = layer.module
    if isinstance(module, nnx.Embed) and not _attends(layer) and hardware.bound_management != "none":
        return f"bound_management = {hardware.bound_management!r} widens input ranges, of which a lookup has none"
    kind = next(kind for kind in MATRIX_LAYERS if isinstance(module, kind))
    own = type(module).__mro__[: type(module).__mro__.index(kind)]
    if kind in TWINS and own and not isinstance(module, tuple(TWINS.values())):
        return f"it is of a subclass of {kind.__name__}, which may compute by code of its own"
    if isinstance(module, nnx.Einsum):
        try:
            AnalogEinsum(hardware, stream=None, path=layer.path).layout(module, tuple(module.kernel_shape))
        except InputError as error:
            return str(error)
    taken = getattr(module, "dot_general_cls", None) is not None
    name = HOOKS[kind][0] if kind in HOOKS else None
    if taken or (name is not None and getattr(module, name) not in (None, _PLAIN[name])):
        return "its matmul hook is taken by something else"
    return ""


def _has_own_call(module: nnx.Module) -> bool:
    """Whether a subclass of a layer with a hook calls it by code of its own, which may leave the hook out."""
    kind = next((kind for kind in HOOKS if isinstance(module, kind)), None)
    if kind is None or isinstance(module, nnx.LoRALinear):
        return False
    mro = type(module).__mro__
    return any("__call__" in vars(c) for c in mro[: mro.index(kind)])


def parameters(model: nnx.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Path and shape of every parameter that is in no analog layer and no factor of LoRA."""
    modules = dict(nnx.iter_modules(model))
    analog = [m for m in modules.values() if any(isinstance(v, AnalogOp) for v in vars(m).values())]
    held = {id(value) for module in analog for value in vars(module).values()}  # by such a layer, too
    for parts, module in modules.items():
        if isinstance(module, (nnx.LoRA, AnalogOp)):
            continue
        for name, value in vars(module).items():
            if isinstance(value, nnx.Param) and id(value) not in held:
                yield "/".join(map(str, (*parts, name))), jnp.shape(value[...])


def path_of(parts: tuple) -> str:
    """A module's path in words."""
    return "/".join(map(str, parts)) or ROOT
