"""An NNX model on analog hardware: a copy whose layers have their hooks filled, or are twins with hooks."""

import warnings
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax

from analogsim.devices.errors import InputError
from analogsim.hardware import Hardware
from analogsim.nnx.hookless import TWINS, original, twin
from analogsim.nnx.hooks import HOOKS, AnalogAttend, AnalogConvGeneralDilated, AnalogOp, AnalogTake, attach
from analogsim.operators import einsum as einsum_operator
from analogsim.selection import Candidate, Matches, Rules, cannot

#: Layers that hold a matrix, and the name of the parameter that is one.
MATRIX_LAYERS: dict[type, str] = {**dict.fromkeys(HOOKS, "kernel"), nnx.ConvTranspose: "kernel", nnx.Embed: "embedding"}

LORA = "factors of LoRA stay digital, beside the analog weight"
STRAY = "the model multiplies with this parameter outside of any layer that is known"


def convert(model: nnx.Module, rules: Rules, strict: bool, rngs: nnx.Rngs | None, x: Any) -> nnx.Module:
    """A copy of the model with matching layers on analog hardware; see ``analogsim.convert``."""
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

    def stream() -> nnx.RngStream | None:
        return None if rngs is None else rngs["analog"].fork()

    def visit(parts: tuple, node: Any) -> Any:
        path = _path(parts)
        if isinstance(node, tuple(HOOKS)) and chosen.get(path) is not None:
            attach(node, chosen[path], stream=stream(), path=path)
        elif isinstance(node, nnx.ConvTranspose) and chosen.get(path) is not None:
            op = AnalogConvGeneralDilated(chosen[path], stream=stream(), path=path)
            return twin(TWINS[nnx.ConvTranspose], node, analog_op=op)
        elif isinstance(node, nnx.Embed) and (chosen.get(path), chosen.get(f"{path}/attend")) != (None, None):
            take, attend = (
                None if chosen.get(p) is None else kind(chosen[p], stream=stream(), path=p)
                for p, kind in ((path, AnalogTake), (f"{path}/attend", AnalogAttend))
            )
            return twin(TWINS[nnx.Embed], node, analog_op=take, attend_op=attend)
        return node

    converted = nnx.recursive_map(visit, copy)
    matches.decide_about_parameters(parameters(converted))
    matches.check()
    if strict and matches.doubtful:
        _refuse_strays(converted, matches.doubtful, x)
    return converted


def to_digital(model: nnx.Module) -> nnx.Module:
    """A copy of plain layers; see ``analogsim.to_digital``."""
    plain = {nnx.Linear: lax.dot_general, nnx.LinearGeneral: None, nnx.Einsum: jnp.einsum}
    plain[nnx.Conv] = lax.conv_general_dilated

    def visit(parts: tuple, node: Any) -> Any:
        del parts
        if type(node) in TWINS.values():
            return original(node)
        for kind, (name, _) in HOOKS.items():
            if isinstance(node, kind) and isinstance(getattr(node, name), AnalogOp):
                delattr(node, name)
                setattr(node, name, plain[kind])
        return node

    return nnx.recursive_map(visit, nnx.clone(model))


def candidates(model: nnx.Module) -> Iterator[Candidate]:
    """Every layer of the model that holds a matrix, ``attend`` of an Embed as one of its own."""
    modules = {parts: module for parts, module in nnx.iter_modules(model)}
    for parts, module in modules.items():
        name = next((name for kind, name in MATRIX_LAYERS.items() if isinstance(module, kind)), None)
        if name is None:
            continue
        path, shape = _path(parts), getattr(module, name)[...].shape
        within = tuple(modules[parts[:n]] for n in reversed(range(len(parts))) if parts[:n] in modules)
        yield Candidate(path, module, shape, within)
        if isinstance(module, nnx.Embed):
            yield Candidate(f"{path}/attend", module, shape, within)


def is_analog(layer: Candidate) -> bool:
    """Whether a layer runs on analog hardware already."""
    name = "attend_op" if _attends(layer) else "analog_op"
    hooks = [getattr(layer.module, name, None)]
    hooks += [getattr(layer.module, hook, None) for kind, (hook, _) in HOOKS.items() if isinstance(layer.module, kind)]
    return any(isinstance(hook, AnalogOp) for hook in hooks)


def _attends(layer: Candidate) -> bool:
    return isinstance(layer.module, nnx.Embed) and layer.path.endswith("/attend")


def obstacle(layer: Candidate, hardware: Hardware) -> str:
    """Why a layer cannot be converted; nothing where it can."""
    module = layer.module
    if isinstance(module, nnx.Embed) and not _attends(layer) and hardware.bound_management != "none":
        return f"bound_management = {hardware.bound_management!r} widens input ranges, of which a look-up has none"
    kind = next(kind for kind in MATRIX_LAYERS if isinstance(module, kind))
    own = type(module).__mro__[: type(module).__mro__.index(kind)]
    if kind in TWINS and own and not isinstance(module, tuple(TWINS.values())):
        return f"it is a {kind.__name__} of a class of its own"
    if isinstance(module, nnx.Einsum):
        try:
            of_x = module.einsum_str.replace(" ", "").partition(",")[0].replace("...", "")
            einsum_operator(module.einsum_str, jnp.zeros((1,) * len(of_x)), module.kernel_shape, hardware, layer.path)
        except InputError as error:
            return str(error)
    plain = {"dot_general": (lax.dot_general, None), "einsum_op": (jnp.einsum,)}
    plain["conv_general_dilated"] = (lax.conv_general_dilated,)
    taken = getattr(module, "dot_general_cls", None) is not None
    name = HOOKS[kind][0] if kind in HOOKS else None
    if taken or (name is not None and getattr(module, name) not in plain[name]):
        return "its matmul hook is taken by something else"
    return ""


def parameters(model: nnx.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Path and shape of every parameter that is no factor of LoRA, a layer's path before its own name."""
    for parts, module in nnx.iter_modules(model):
        if isinstance(module, (nnx.LoRA, AnalogOp)):
            continue
        for name, value in vars(module).items():
            if isinstance(value, nnx.Param):
                yield "/".join(map(str, (*parts, name))), jnp.shape(value[...])


def _refuse_strays(model: nnx.Module, doubtful: set[str], x: Any) -> None:
    if x is None:
        warnings.warn(
            f"convert: {', '.join(sorted(doubtful))}: no layer that is known holds these parameters; if the model "
            f"multiplies with them, that stays digital. Give x, an example input, to find out, or name them in a first "
            f"rule with None",
            stacklevel=4,
        )
        return
    from analogsim.nnx.listing import tour_of

    for stray in tour_of(model, x if isinstance(x, tuple) else (x,)).strays:
        if stray.path in doubtful:
            raise cannot(Candidate(stray.path, None, stray.shape), STRAY)


def _path(parts: tuple) -> str:
    return "/".join(map(str, parts)) or "(the model itself)"
