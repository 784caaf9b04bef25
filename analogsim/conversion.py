"""Whole models onto analog hardware in one call: ``convert(model, hardware)``.

The model is not edited. Linen layers get their matmul hook filled while they are called, NNX layers in a copy of the
model; parameter names, paths, shapes and dtypes stay, and a digital checkpoint loads unchanged. Which hardware a layer
gets is decided by ordered rules on its path; a rule that matches nothing, and a layer that should be converted but
cannot be, are errors, never silence.
"""

import contextlib
import functools
import inspect
import re
import types
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from analogsim.devices.errors import InputError
from analogsim.hardware import Hardware
from analogsim.linen import conv_hook, dot_general_hook, layer_path
from analogsim.nnx import AnalogOp, attach, check_rngs

Rules = tuple[tuple[str, Hardware | None], ...]

_LINEN_MATMUL = (nn.Dense, nn.DenseGeneral, nn.Conv)
_LINEN_OTHER = (nn.Einsum, nn.ConvTranspose, nn.ConvLocal, nn.Embed)
_NNX_MATMUL = (nnx.Linear, nnx.LinearGeneral, nnx.Conv)
_NNX_OTHER = (nnx.Einsum, nnx.ConvTranspose, nnx.Embed)


def convert(
    model: Any,
    hardware: Hardware | Sequence[tuple[str, Hardware | None]],
    *,
    where: str = ".*",
    strict: bool = True,
    rngs: nnx.Rngs | None = None,
) -> Any:
    """A Flax model whose Dense and Conv layers run on analog hardware.

    Args:
      model: a Linen or NNX model made of Dense (Linear), DenseGeneral (LinearGeneral) and Conv layers; attention's
        projections are such layers. Layers that are analog already stay as they are.
      hardware: one hardware for every layer whose path matches ``where``; or ordered rules ``(pattern, hardware)``, of
        which the first that matches a layer's whole path (``"encoder/Dense_0"``) decides, ``None`` keeping it digital.
      where: a regular expression on layer paths, with a single hardware.
      strict: raise for a matrix-holding layer that cannot be converted (Einsum, Embed, batch axes, transposed or
        grouped convolution); False leaves it digital.
      rngs: seeds the noise streams of an NNX model's layers; needed there for hardware-aware training.

    Returns:
      A Linen module with the same parameter tree, or a converted copy of the NNX model with parameters of its own.

    Raises:
      InputError: at once, or (Linen) when the model is first run, since its layers exist only then.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> plain = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
      >>> analog = convert(plain, [("layers_2", None), (".*", preset("pcm"))])
      >>> variables = plain.init(jax.random.key(0), jnp.ones((1, 4)))       # the plain model's own parameters
      >>> analog.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    rules = _rules(hardware, where)
    if isinstance(model, Converted):
        raise InputError(
            "model: is converted already; convert the plain model, with all rules in one call: "
            "convert(model, [(pattern, hardware), ...])"
        )
    if isinstance(model, nn.Module):
        if rngs is not None:
            raise InputError("rngs: a Linen model takes its randomness when it is applied; leave rngs out")
        return Converted(model, rules, strict)
    if isinstance(model, nnx.Module):
        if rngs is not None:
            check_rngs(rngs, "convert")
        return _convert_nnx(model, rules, strict, rngs)
    raise InputError(f"model = {type(model).__name__}: must be a flax.linen or flax.nnx module")


def _rules(hardware: Any, where: str) -> Rules:
    pairs = ((where, hardware),) if isinstance(hardware, Hardware) else hardware
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        raise InputError(f"hardware = {hardware!r}: must be a Hardware or a sequence of (pattern, Hardware or None)")
    if where != ".*" and not isinstance(hardware, Hardware):
        raise InputError(f"where = {where!r}: goes with a single hardware; rules carry their own patterns")
    checked = []
    for rule in pairs:
        if not (isinstance(rule, Sequence) and len(rule) == 2 and isinstance(rule[0], str)):
            raise InputError(f"rule {rule!r}: must be a pair (pattern, Hardware or None)")
        pattern, target = rule
        if target is not None and not isinstance(target, Hardware):
            raise InputError(f"rule {pattern!r}: {target!r} must be a Hardware such as preset('pcm'), or None")
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"rule {pattern!r}: not a regular expression ({error})") from None
        checked.append((pattern, target))
    return tuple(checked)


class _Matches:
    """Which rules decided about a layer; afterwards, a rule that never did is an error."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.used: set[int] = set()
        self.paths: list[str] = []

    def hardware_for(self, path: str) -> Hardware | None:
        self.paths.append(path)
        for index, (pattern, hardware) in enumerate(self.rules):
            if re.fullmatch(pattern, path):
                self.used.add(index)
                return hardware
        return None

    def check(self) -> None:
        for index, (pattern, _) in enumerate(self.rules):
            if index not in self.used:
                layers = ", ".join(dict.fromkeys(self.paths)) or "none"
                raise InputError(f"rule {pattern!r} decides about no layer; the model's matrix layers: {layers}")


def _cannot(path: str, layer: Any, why: str) -> InputError:
    return InputError(
        f"layer {path} ({type(layer).__name__}) cannot run on analog hardware: {why}; keep it digital with a first "
        f"rule ({path!r}, None), or pass strict=False"
    )


# The rules in force are part of jax's cache key: a compiled block inside the model (nn.jit, nn.remat) is never reused
# under other rules.
_rules_context = jax.make_user_context(None)


def _cache_key(rules: Rules, strict: bool) -> Any:
    try:
        return (hash(rules), rules, strict)
    except TypeError:  # traced hardware: never reuse a trace
        return object()


class Converted(nn.Module):
    """A Linen model with matching layers on analog hardware; its variables are those of ``model``, without a level.

    The model's other methods are there too, converted alike: ``apply(..., method="encode")``, ``bind(v).encode(x)``.
    """

    model: nn.Module
    rules: Rules
    strict: bool = True

    def setup(self):
        nn.share_scope(self, self.model)
        _follow_scope(self)

    @nn.nowrap
    def apply(self, variables, *args, method=None, **kwargs):
        """As of the model; ``method`` may be a name, a method of the model's class, or a function of this module."""
        return super().apply(variables, *args, method=_by_name(self.model, method), **kwargs)

    @nn.nowrap
    def init_with_output(self, rngs, *args, method=None, **kwargs):
        """As of the model; ``method`` as for ``apply``."""
        return super().init_with_output(rngs, *args, method=_by_name(self.model, method), **kwargs)

    @nn.nowrap
    def __getattr__(self, name):
        # Only methods: a layer that was taken out and called would run outside of the rules, digitally.
        if name.startswith("_") or name == "model" or not inspect.isfunction(getattr(type(self.model), name, None)):
            return super().__getattr__(name)
        return types.MethodType(lambda module, *args, **kwargs: module(*args, method=name, **kwargs), self)

    def __call__(self, *args, method: str = "__call__", **kwargs):
        matches = _Matches(self.rules)
        route = functools.partial(_route, matches, self.strict)
        with _rules_context(_cache_key(self.rules, self.strict)), nn.intercept_methods(route):
            result = getattr(self.model, method)(*args, **kwargs)
        if method == "__call__":  # another entry point may leave layers out on purpose
            matches.check()
        return result


def _by_name(model: nn.Module, method: Any) -> Any:
    """A method of the model's class by its name, so that it is called through the conversion; others as they are."""
    function = getattr(method, "__func__", method)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(type(model), name, None) is function else method


def _follow_scope(module: nn.Module) -> None:
    """Give layers that ``nn.share_scope`` moved their new path, which transformations inside the model start from."""
    path = () if module.scope is None else module.scope.path
    for child in module._state.children.values():
        if isinstance(child, nn.Module) and child.scope is not None:
            if child.scope.parent is module.scope and child.scope.name is not None:
                child.scope.path = (*path, child.scope.name)
            _follow_scope(child)


def _route(matches: _Matches, strict: bool, call, args, kwargs, context):
    layer = context.module
    if context.method_name != "__call__" or not isinstance(layer, _LINEN_MATMUL + _LINEN_OTHER):
        return call(*args, **kwargs)
    path = layer_path(layer)
    if _is_analog(layer):
        return call(*args, **kwargs)
    hardware = matches.hardware_for(path)
    if hardware is None:
        return call(*args, **kwargs)
    why = _linen_obstacle(layer)
    if why:
        if strict:
            raise _cannot(path, layer, why)
        return call(*args, **kwargs)
    name = "conv_general_dilated_cls" if isinstance(layer, nn.Conv) else "dot_general_cls"
    hook = conv_hook(hardware) if isinstance(layer, nn.Conv) else dot_general_hook(hardware)
    with _filled(layer, name, hook):
        return call(*args, **kwargs)


def _is_analog(layer: nn.Module) -> bool:
    from analogsim.linen import AnalogConvGeneralDilated, AnalogDotGeneral

    hooks = (getattr(layer, name, None) for name in ("dot_general_cls", "conv_general_dilated_cls"))
    return any(getattr(h, "func", None) in (AnalogDotGeneral, AnalogConvGeneralDilated) for h in hooks)


def _linen_obstacle(layer: Any) -> str:
    if not isinstance(layer, _LINEN_MATMUL):
        return "it has no matmul hook"
    if isinstance(layer, nn.Conv) and layer.feature_group_count != 1:
        return f"it convolves in {layer.feature_group_count} groups"
    if getattr(layer, "batch_dims", ()):
        return f"it has a matrix for every entry of its batch axes (batch_dims = {layer.batch_dims})"
    taken = ("conv_general_dilated", "conv_general_dilated_cls") if isinstance(layer, nn.Conv) else (
        "dot_general", "dot_general_cls"
    )  # fmt: skip
    if any(getattr(layer, name, None) is not None for name in taken):
        return "its matmul hook is taken by something else"
    return ""


@contextlib.contextmanager
def _filled(layer: nn.Module, name: str, hook: Any):
    # Linen modules are frozen; the hook is put back before anyone else can see it.
    object.__setattr__(layer, name, hook)
    try:
        yield
    finally:
        object.__setattr__(layer, name, None)


def _nnx_obstacle(layer: nnx.Module) -> str:
    if not isinstance(layer, _NNX_MATMUL):
        return "it has no matmul hook"
    if isinstance(layer, nnx.Conv) and layer.feature_group_count != 1:
        return f"it convolves in {layer.feature_group_count} groups"
    if isinstance(layer, nnx.LinearGeneral) and layer.batch_axis:
        return f"it has a matrix for every entry of its batch axes (batch_axis = {dict(layer.batch_axis)})"
    return ""


def _convert_nnx(model: nnx.Module, rules: Rules, strict: bool, rngs: nnx.Rngs | None) -> nnx.Module:
    copy = nnx.clone(model)
    matches = _Matches(rules)
    for parts, module in list(nnx.iter_modules(copy)):
        if not isinstance(module, _NNX_MATMUL + _NNX_OTHER):
            continue
        hooks = (getattr(module, name, None) for name in ("dot_general", "conv_general_dilated"))
        if any(isinstance(h, AnalogOp) for h in hooks):
            continue
        path = "/".join(map(str, parts)) or "(the model itself)"
        hardware = matches.hardware_for(path)
        if hardware is None:
            continue
        why = _nnx_obstacle(module)
        if why:
            if strict:
                raise _cannot(path, module, why)
            continue
        attach(module, hardware, stream=None if rngs is None else rngs["analog"].fork(), path=path)
    matches.check()
    return copy
