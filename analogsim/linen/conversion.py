"""A Linen model on analog hardware, unedited: its layers are converted while they are called.

Flax lets a function stand between a module and every call of a method (``nn.intercept_methods``). Ours decides about
each layer that holds a matrix, and fills its matmul hook for the duration of the call, or computes a layer without a
hook on the layer's own parameters. Transformations inside the model pass chips and noise on (``lifting``).
"""

import contextlib
import contextvars
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core.scope import LazyRng

from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT, Candidate, Matches, Rules, attending, cannot
from analogsim.layers import modes
from analogsim.linen import conversion_scope as in_force
from analogsim.linen import factored, hookless
from analogsim.linen.einsum import ParameterProduct, deciding
from analogsim.linen.factored import Core, Encoding
from analogsim.linen.hooks import (
    AnalogConvGeneralDilated,
    AnalogDotGeneral,
    conv_hook,
    dot_general_hook,
    layer_path,
)
from analogsim.signal_path.operators import einsum as einsum_operator

#: Layers that hold a matrix, and the name of the parameter that is one.
MATRIX_LAYERS: dict[type, str] = {
    nn.Dense: "kernel",
    nn.DenseGeneral: "kernel",
    nn.Einsum: "kernel",
    nn.Conv: "kernel",
    nn.ConvTranspose: "kernel",
    nn.ConvLocal: "kernel",
    nn.Embed: "embedding",
}
_HOOKLESS = {
    nn.Einsum: hookless.einsum,
    nn.ConvTranspose: hookless.conv_transpose,
    nn.ConvLocal: hookless.conv_local,
    nn.Embed: hookless.embed,
}
_LSTM_GATES = tuple(side + gate for side in "ih" for gate in "ifgo")

# What the conversions inside one apply decided.
_decided: contextvars.ContextVar[list[Matches] | None] = contextvars.ContextVar("decided", default=None)

# Modules of the model whose methods are running, the outermost first.
_running: contextvars.ContextVar[tuple[nn.Module, ...]] = contextvars.ContextVar("running", default=())


class Conversion(NamedTuple):
    """What one call of a converted model does with layers.

    Attributes:
      matches: its rules, and what they decided about.
      strict: whether what cannot be converted is refused.
      encoding: the layers whose kernels the variables hold as cores.
      codec: what kernels become on their way to the hardware; None for themselves.
      coded: notes the layers that did.
    """

    matches: Matches
    strict: bool
    encoding: Encoding
    codec: Codec | None
    coded: list[str]


class Converted(nn.Module):
    """A Linen model with matching layers on analog hardware; its variables are those of ``model``, without a level.

    The model's other methods are there too, converted alike: ``apply(..., method="encode")``, ``bind(v).encode(x)``.
    ``encoding`` names the layers whose kernels the variables hold as cores; a model that is compressed and no more has
    no rules. With a ``codec``, kernels become cores on their way to the hardware.
    """

    model: nn.Module
    rules: Rules
    strict: bool = True
    encoding: Encoding = Encoding()
    codec: Codec | None = None

    def setup(self):
        nn.share_scope(self, self.model)
        _follow_scope(self)

    @nn.nowrap
    def apply(self, variables, *args, method=None, rngs=None, **kwargs):
        """As of the model; ``method`` may be a name, a method of the model's class, or a function of this module.

        The steps of an ``nn.RNN`` share their chip, which is fabricated from the stream ``chip``: the one of ``analog``
        where none is given.
        """
        if isinstance(rngs, dict) and "analog" in rngs:
            rngs = {"chip": rngs["analog"], **rngs}
        decided: list[Matches] = []
        token = _decided.set(decided)
        try:
            result = super().apply(variables, *args, method=_by_name(self.model, method), rngs=rngs, **kwargs)
        finally:
            _decided.reset(token)
        if self.strict and not isinstance(modes.current(), modes.InventoryMode):
            self._refuse_strays(decided, variables, args, method, rngs, kwargs)
        return result

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
        matches = Matches(self.rules)
        coded: list[str] = []
        route = functools.partial(_route, Conversion(matches, self.strict, self.encoding, self.codec, coded))
        token = deciding.set(functools.partial(_decide_about_product, matches, self.strict))
        try:
            with in_force.conversion((self._cache_key(), bool(self.rules))), nn.intercept_methods(route):
                result = getattr(self.model, method)(*args, **kwargs)
        finally:
            deciding.reset(token)
        if method == "__call__":  # another entry point may leave layers out on purpose
            above = "" if self.scope is None else "".join(f"{name}/" for name in self.scope.path)
            matches.decide_about_parameters(_shapes(self.variables.get("params", {}), above))
            matches.check()
            if self.codec is not None and not coded and not self.is_initializing():
                raise InputError(
                    f"codec = {self.codec!r}: no layer that gets hardware takes fewer numbers as cores, or the codec "
                    f"fits none; lower the rank, or leave codec out"
                )
            seen = _decided.get()
            if seen is not None:
                seen.append(matches)
        return result

    @nn.nowrap
    def _cache_key(self) -> Any:
        what = (self.rules, self.strict, self.encoding, self.codec)
        try:
            return (hash(what), what)
        except TypeError:  # traced hardware: never reuse a trace
            return object()

    @nn.nowrap
    def _refuse_strays(self, decided, variables, args, method, rngs, kwargs):
        """Refuse products with parameters that no layer does, where a rule asks for hardware."""
        doubtful = {path for matches in decided for path in matches.doubtful}
        if not doubtful or (known := self._fingerprint(variables["params"], args, method, kwargs)) in _found_clean:
            return
        from analogsim.layers.inventory import inventory

        def run(params, *args):
            return self.apply({**variables, "params": params}, *args, method=method, rngs=rngs, **kwargs)

        for stray in inventory(run, variables["params"], args).strays:
            if stray.path in doubtful:
                raise cannot(Candidate(stray.path, None, stray.shape), STRAY)
        if known is not None:
            _found_clean.add(known)

    @nn.nowrap
    def _fingerprint(self, params, args, method, kwargs) -> Any:
        """What a tour of the model depends on; None where that cannot be compared."""
        leaves, structure = jax.tree.flatten((params, args))
        try:
            own = hash((self, method, str(kwargs)))
        except TypeError:  # traced hardware
            return None
        return own, structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


#: Fingerprints of models that were found to multiply with no parameter outside of layers.
_found_clean: set[Any] = set()

STRAY = (
    "the model multiplies with this parameter outside of any layer that is known; with analogsim.linen.analog_einsum "
    "in the place of the product it is one"
)


def _shapes(params: Any, above: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for parts, leaf in jax.tree_util.tree_flatten_with_path(nn.meta.unbox(params))[0]:
        yield above + "/".join(str(getattr(part, "key", part)) for part in parts), jnp.shape(leaf)


def _by_name(model: nn.Module, method: Any) -> Any:
    """A method of the model's class by its name, so that it is called through the conversion; others as they are."""
    function = getattr(method, "__func__", method)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(type(model), name, None) is function else method


def _follow_scope(module: Any) -> None:
    """Give layers that ``nn.share_scope`` moved their new path and random streams.

    They were bound one level deeper. Transformations inside the model start from the path, and initial parameters are
    drawn from the streams.
    """
    if module.scope is None:
        return
    for child in module._state.children.values():
        if isinstance(child, nn.Module) and child.scope is not None:
            scope: Any = child.scope
            if scope.parent is module.scope and scope.name is not None:
                scope.path = (*module.scope.path, scope.name)
                scope.rngs = {name: LazyRng.create(rng, scope.name) for name, rng in module.scope.rngs.items()}
            _follow_scope(child)


def _route(conversion: Conversion, call, args, kwargs, context):
    """What happens in the place of one call of a method of a module inside the model."""
    token = _running.set((*_running.get(), context.module))
    try:
        return _carry_out(conversion, call, args, kwargs, context.module, context.method_name)
    finally:
        _running.reset(token)


def _carry_out(conversion: Conversion, call, args, kwargs, layer: Any, method: str):
    matches, strict = conversion.matches, conversion.strict
    if method == "__call__" and isinstance(layer, nn.OptimizedLSTMCell):
        return _lstm(matches, layer, call, args, kwargs)
    attends = method == "attend" and isinstance(layer, nn.Embed)
    if not (attends or (method == "__call__" and isinstance(layer, tuple(MATRIX_LAYERS)))):
        return call(*args, **kwargs)
    if conversion.encoding.layers and (layout := conversion.encoding.of(_layer_path(layer, attends))) is not None:
        return factored.encoded(layer, *args, layout=layout, contraction=conversion.encoding.contraction, **kwargs)
    mode = modes.current()
    if isinstance(mode, modes.InventoryMode):
        mode.kinds[_layer_path(layer, attends)] = type(layer).__name__
    known = layer.is_initializing() or layer.has_variable("params", _matrix_name(layer))
    if _is_analog(layer) or not known:  # Flax says best which parameter is missing
        return call(*args, **kwargs)
    if layer.is_initializing():  # the layer has its parameters only afterwards
        result = call(*args, **kwargs)
        _decide(matches, strict, layer, attends, args, kwargs)
        return result
    path, hardware = _decide(matches, strict, layer, attends, args, kwargs)
    if hardware is None:
        return call(*args, **kwargs)
    if attends:
        return hookless.attend(layer, hardware, *args, **kwargs)
    compute: Any = next((compute for kind, compute in _HOOKLESS.items() if isinstance(layer, kind)), None)
    if compute is not None:
        return compute(layer, hardware, *args, **kwargs)
    codec = conversion.codec if _place_of_applied(layer) is None else None
    if codec is not None and factored.is_worth_it(layer, codec, _within(layer)):
        conversion.coded.append(path)
        return factored.encoding(layer, hardware, codec, *args, **kwargs)
    return _through_hook(layer, hardware, path, call, args, kwargs)


def _decide(
    matches: Matches, strict: bool, layer: Any, attends: bool, args: tuple, kwargs: dict[str, Any]
) -> tuple[str, Hardware | None]:
    """The layer's path and hardware; None where it stays digital."""
    path = _layer_path(layer, attends)
    table = nn.meta.unbox(layer.get_variable("params", _matrix_name(layer)))
    part_of = (path.rpartition("/")[0] or ROOT) if isinstance(layer, Core) else ""
    candidate = Candidate(path, layer, jnp.shape(table), _within(layer), part_of)
    hardware, why = matches.decide(candidate)
    obstacle = "" if hardware is None else _obstacle(layer, hardware, attends, candidate, args, kwargs)
    if obstacle and strict:
        raise cannot(candidate, obstacle)
    if isinstance(modes.current(), modes.InventoryMode) and (hardware is None or obstacle):
        modes.current().leave(path, candidate.kind, candidate.shape, obstacle or why)
    return path, None if obstacle else hardware


def _decide_about_product(
    matches: Matches, strict: bool, product: ParameterProduct, path: str, shape: tuple[int, ...], obstacle: Any
) -> Hardware | None:
    """The hardware of a product that ``analog_einsum`` does; None where it stays digital."""
    inner = _running.get()[-1]
    candidate = Candidate(path, product, shape, tuple(m for m in (inner, *_within(inner)) if type(m) is not Converted))
    hardware, why = matches.decide(candidate)
    found = "" if hardware is None else obstacle(hardware)
    if found and strict:
        raise cannot(candidate, found)
    mode = modes.current()
    if isinstance(mode, modes.InventoryMode):
        mode.kinds[path] = candidate.kind
        if hardware is None or found:
            mode.leave(path, candidate.kind, shape, found or why)
    return None if found else hardware


def _layer_path(layer: nn.Module, attends: bool) -> str:
    path = layer_path(layer)
    if (place := _place_of_applied(layer)) is not None:
        above = layer_path(place[0])
        path = "/".join([*([] if above == ROOT else [above]), *place[1]])
    return attending(path) if attends else path


def _place_of_applied(layer: nn.Module) -> tuple[nn.Module, list[str]] | None:
    """Where a layer belongs that the model applies by itself, ``self.head.apply({"params": ...}, x)``; None for others.

    Such a call has variables of its own and knows nothing of the model's. The layer's chip and ranges are kept where
    they would be otherwise: below the module that applies it.
    """
    root, running = _root(layer), _running.get()
    first = next((i for i, one in enumerate(running) if _root(one) is root), 0)
    # What a transformation runs in a scope of its own has a path, or at least a name for messages.
    if root is None or root.path or root.debug_path or not first or isinstance(running[first - 1], Converted):
        return None
    if (name := running[first].name) is None:
        raise InputError(
            f"a {type(running[first]).__name__} in {layer_path(running[first - 1])} is applied by itself and has no "
            f"name, for its place on the chip; give it one: {type(running[first]).__name__}(..., name='head')"
        )
    below: Any = layer.scope
    return running[first - 1], [name, *below.path]


def _root(module: nn.Module) -> Any:
    scope: Any = module.scope
    while scope is not None and scope.parent is not None:
        scope = scope.parent
    return scope


def _matrix_name(layer: nn.Module) -> str:
    return next(name for kind, name in MATRIX_LAYERS.items() if isinstance(layer, kind))


def _within(module: nn.Module) -> tuple[nn.Module, ...]:
    """The modules of the model that hold this one, the innermost first."""
    modules: list[nn.Module] = []
    above = _holder(module)
    while above is not None and not any(above is holder for holder in modules):
        modules.append(above)
        above = _holder(above)
    return tuple(holder for holder in modules if not isinstance(holder, Converted))


def _holder(module: nn.Module) -> nn.Module | None:
    """The module that holds this one. A transformation (``nn.scan``) runs a copy without a parent: what called it."""
    if isinstance(module.parent, nn.Module):
        return module.parent
    running = _running.get()
    place = next((i for i, one in enumerate(running) if one is module), 0)
    return running[place - 1] if place else None


def _is_analog(layer: nn.Module) -> bool:
    hooks = (getattr(layer, name, None) for name in ("dot_general_cls", "conv_general_dilated_cls"))
    return any(getattr(h, "func", None) in (AnalogDotGeneral, AnalogConvGeneralDilated) for h in hooks)


def _obstacle(
    layer: Any, hardware: Hardware, attends: bool, candidate: Candidate, args: tuple, kwargs: dict[str, Any]
) -> str:
    """Why a layer cannot be converted; nothing where it can."""
    applied = _place_of_applied(layer) is not None
    if applied and isinstance(layer, tuple(_HOOKLESS)):
        return "it is applied by itself, with parameters of the call; multiply with analogsim.linen.analog_einsum"
    if isinstance(layer, nn.Embed) and not attends and hardware.bound_management != "none":
        return f"bound_management = {hardware.bound_management!r} widens input ranges, of which a lookup has none"
    for kind in _HOOKLESS:
        if isinstance(layer, kind) and _own_code(layer, kind, "attend" if attends else "__call__"):
            return f"it is of a subclass of {kind.__name__} that computes by code of its own"
    if isinstance(layer, nn.Einsum):
        return _einsum_obstacle(layer, hardware, candidate, *args, **kwargs)
    taken = ("conv_general_dilated", "conv_general_dilated_cls") if isinstance(layer, nn.Conv) else (
        "dot_general", "dot_general_cls"
    )  # fmt: skip
    if any(getattr(layer, name, None) is not None for name in taken):
        return "its matmul hook is taken by something else"
    return ""


def _einsum_obstacle(
    layer: Any, hardware: Hardware, candidate: Candidate, inputs: Any, einsum_str: str | None = None
) -> str:
    """Why an equation is no matrix product with the kernel; the arguments are those of the layer's call."""
    equation: str = layer.einsum_str if einsum_str is None else einsum_str
    try:
        jax.eval_shape(lambda x: einsum_operator(equation, x, candidate.shape, hardware, candidate.path)[1], inputs)
    except InputError as error:
        return str(error)
    return ""


def _own_code(layer: Any, kind: type, method: str) -> bool:
    """Whether a subclass of Flax's layer has a method of its own."""
    return any(method in vars(c) for c in type(layer).__mro__[: type(layer).__mro__.index(kind)])


def _through_hook(layer: Any, hardware: Hardware, path: str, call, args, kwargs):
    """The layer's own code, with its hook filled for as long as it runs."""
    name, make = (
        ("conv_general_dilated_cls", conv_hook(hardware))
        if isinstance(layer, nn.Conv)
        else ("dot_general_cls", dot_general_hook(hardware))
    )
    if (place := _place_of_applied(layer)) is not None:
        scope: Any = place[0].scope
        for below in (*place[1], "analog"):
            scope = scope.push(below, reuse=True)
        make = functools.partial(make.func, hardware, parent=scope)
    used = []

    def hook():
        used.append(True)
        return make()

    with _filled(layer, **{name: hook}):
        result = call(*args, **kwargs)
    if not used:
        raise cannot(Candidate(path, layer, ()), f"its class does not make use of Flax's hook {name}")
    return result


@contextlib.contextmanager
def _filled(layer: nn.Module, **fields: Any) -> Iterator[None]:
    # Linen modules are frozen; the fields are put back before anyone else can see them.
    before = {name: getattr(layer, name) for name in fields}
    for name, value in fields.items():
        object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(layer, name, value)


def _lstm(matches: Matches, layer: Any, call, args, kwargs):
    """The cell that fuses its gates, as one with a layer for each gate; the parameters are the same."""
    entered = sum(one is layer for one in _running.get())
    if entered == 1 and _own_code(layer, nn.OptimizedLSTMCell, "__call__"):
        return call(*args, **kwargs)  # of a subclass, whose own code may call Flax's, which comes here again
    if not layer.is_initializing():
        return hookless.lstm(layer, *args, **kwargs)
    result = call(*args, **kwargs)
    for gate in _LSTM_GATES:  # what the layers will be when the cell runs
        kernel = nn.meta.unbox(layer.scope.get_variable("params", gate)["kernel"])
        dense = nn.Dense(layer.features, parent=None)
        matches.decide(Candidate(f"{layer_path(layer)}/{gate}", dense, kernel.shape, (layer, *_within(layer))))
    return result
