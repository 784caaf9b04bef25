"""Convert a Linen model to analog hardware without editing it: its layers are converted while they are called.

Flax passes every call of a module's method through an interceptor (``nn.intercept_methods``). Ours applies the rules to
each layer with a weight matrix and, for the duration of the call, fills the layer's matmul hook, or computes a layer
without a hook from the layer's own parameters. ``lifting`` makes transformations inside the model pass chips and noise.
"""

import contextvars
import functools
import inspect
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core.scope import LazyRng

from analogsim.base.equality import HashedOnce
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.factors.codec import Codec
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT, Candidate, Matches, Rules, attending, cannot
from analogsim.layers import modes
from analogsim.layers.inventory import inventory
from analogsim.linen import factored, hookless, hooks
from analogsim.linen.einsum import ParameterProduct, deciding, product_obstacle
from analogsim.linen.factored import Core, Encoding
from analogsim.linen.hooks import layer_path, root_scope

#: Layers with a weight matrix, and the name of the parameter that holds it.
MATRIX_LAYERS: dict[type, str] = {
    **dict.fromkeys((nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Conv, nn.ConvTranspose, nn.ConvLocal), "kernel"),
    nn.Embed: "embedding",
}
_HOOKLESS: dict[type, Callable[..., Any]] = {
    nn.Einsum: hookless.einsum,
    nn.ConvTranspose: hookless.conv_transpose,
    nn.ConvLocal: hookless.conv_local,
    nn.Embed: hookless.embed,
}
_LSTM_GATES = tuple(side + gate for side in "ih" for gate in "ifgo")

# The ``Matches`` of all conversions inside the current ``apply``.
_decided: contextvars.ContextVar[list[Matches] | None] = contextvars.ContextVar("decided", default=None)

# Modules of the model whose methods are running, the outermost first.
_running: contextvars.ContextVar[tuple[nn.Module, ...]] = contextvars.ContextVar("running", default=())


class Conversion(NamedTuple):
    """State of one call of a converted model.

    Attributes:
      matches: its rules, and a record of their decisions.
      strict, encoding, codec: as in ``Converted``.
      coded: paths of the layers that ``codec`` compressed.
    """

    matches: Matches
    strict: bool
    encoding: Encoding
    codec: Codec | None
    coded: list[str]

    def decide(self, layer: Candidate, obstacle: Callable[[Hardware], str]) -> Hardware | None:
        """Return the layer's hardware; None if it stays digital.

        ``obstacle`` returns why the layer cannot run on the given hardware, or ``""``; if strict, an obstacle raises.
        """
        hardware, why = self.matches.decide(layer)
        if hardware is not None and (why := obstacle(hardware)) and self.strict:
            raise cannot(layer, why)
        if hardware is not None and not why:
            return hardware
        modes.current_or_default().leave(layer.path, layer.kind, layer.shape, why)
        return None


class Converted(nn.Module):
    """A Linen model whose selected layers run on analog hardware; returned by ``analogsim.convert``.

    Its variables have the same structure as those of ``model``, without a level for the wrapper. Other methods of the
    model are available and converted too: ``apply(..., method="encode")``, ``bind(v).encode(x)``.

    Attributes:
      model: the plain model.
      rules: pairs (selector, hardware); empty for a model that is only compressed.
      strict: whether to raise if a selected layer cannot be converted.
      encoding: the layers whose kernels are cores in the variables.
      codec: compresses kernels to cores before they reach the hardware; None for no compression.
    """

    model: nn.Module
    rules: Rules
    strict: bool = True
    encoding: Encoding = Encoding()
    codec: Codec | None = None

    def setup(self):
        nn.share_scope(self, self.model)
        _follow_scope(self)

    # nowrap: Flax wraps every method that a subclass defines, and would run interceptors around apply itself.
    @nn.nowrap
    def apply(self, variables, *args, method=None, rngs=None, **kwargs):
        """Apply the model, as ``flax.linen.Module.apply``.

        The steps of an ``nn.RNN`` share one chip, fabricated from the stream ``chip``; by default the stream
        ``analog``.

        Args:
          variables: those of the plain model or of a chip.
          *args, **kwargs: as for the model.
          method: a name, a method of the model's class, or a function of this module.
          rngs: random streams by name.

        Raises:
          InputError: if a rule matches no layer, a selected layer cannot be converted, or the model multiplies with a
            selected parameter outside of any layer.
        """
        if isinstance(rngs, dict) and "analog" in rngs:
            # Before nn.scan splits 'analog' by steps. A stream 'chip' that the caller passes takes precedence.
            rngs = {"chip": rngs["analog"], **rngs}
        decided: list[Matches] = []
        token = _decided.set(decided)
        try:
            result = super().apply(variables, *args, method=_by_name(self.model, method), rngs=rngs, **kwargs)
        finally:
            _decided.reset(token)
        if self.strict and not modes.current_or_default().lists_layers:
            # This calls apply once more, in a mode that lists layers, so that the condition above ends the recursion.
            self._refuse_strays(decided, variables, args, method, rngs, kwargs)
        return result

    @nn.nowrap
    def init_with_output(self, rngs, *args, method=None, **kwargs):
        """Initialise the model, as ``flax.linen.Module.init_with_output``; ``method`` as for ``apply``."""
        return super().init_with_output(rngs, *args, method=_by_name(self.model, method), **kwargs)

    @nn.nowrap
    def __getattr__(self, name):
        # Only methods: a submodule that is taken out of the model and called would ignore the rules and stay digital.
        if name.startswith("_") or name == "model" or not inspect.isfunction(getattr(type(self.model), name, None)):
            return super().__getattr__(name)
        return types.MethodType(lambda module, *args, **kwargs: module(*args, method=name, **kwargs), self)

    def __call__(self, *args, method: str = "__call__", **kwargs):
        conversion = Conversion(Matches(self.rules), self.strict, self.encoding, self.codec, [])
        route = functools.partial(_route, conversion)
        token = deciding.set(functools.partial(_decide_about_product, conversion))
        try:
            with factored.conversion((self._cache_key(), bool(self.rules))), nn.intercept_methods(route):
                result = getattr(self.model, method)(*args, **kwargs)
        finally:
            deciding.reset(token)
        if method == "__call__":  # other entry points may use only some of the layers
            above = "" if self.scope is None else "".join(f"{name}/" for name in self.scope.path)
            conversion.matches.decide_about_parameters(_shapes(self.variables.get("params", {}), above))
            conversion.matches.check()
            if self.codec is not None and not conversion.coded and not self.is_initializing():
                raise InputError(
                    f"codec = {self.codec!r}: compresses no layer on hardware: the cores would hold more numbers than "
                    f"the kernel, or the codec does not fit it; lower the rank, or leave codec out"
                )
            decided = _decided.get()
            if decided is not None:
                decided.append(conversion.matches)
        return result

    @nn.nowrap
    def _cache_key(self) -> Any:
        try:
            return HashedOnce((self.rules, self.strict, self.encoding, self.codec))
        except TypeError:  # unhashable, because the hardware is traced: never reuse a trace
            return object()

    @nn.nowrap
    def _refuse_strays(self, decided, variables, args, method, rngs, kwargs):
        """Raise ``InputError`` for a product with a selected parameter that no layer computes."""
        doubtful = {path for matches in decided for path in matches.doubtful}
        if not doubtful:
            return
        fingerprint = self._fingerprint(variables["params"], args, method, kwargs)
        if fingerprint in _without_strays:
            return

        def run(params, *args):
            return self.apply({**variables, "params": params}, *args, method=method, rngs=rngs, **kwargs)

        for stray in inventory(run, variables["params"], args).strays:
            if stray.path in doubtful:
                raise cannot(Candidate(stray.path, None, stray.shape), STRAY)
        if fingerprint is not None:
            _without_strays.add(fingerprint)

    @nn.nowrap
    def _fingerprint(self, params, args, method, kwargs) -> Hashable:
        """Return everything that the model's inventory depends on; None if it is not hashable."""
        leaves, structure = jax.tree.flatten((params, args))
        try:
            static = hash((self, method, str(kwargs)))
        except TypeError:  # traced hardware
            return None
        return static, structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


#: Fingerprints of models whose products all belong to layers, so that they are checked once.
_without_strays: set[Hashable] = set()

STRAY = (
    "the model multiplies with this parameter outside of any known layer, and not with analogsim.linen.analog_einsum"
)


def _shapes(params: PyTree, above: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for parts, leaf in jax.tree_util.tree_flatten_with_path(nn.meta.unbox(params))[0]:
        yield above + "/".join(str(getattr(part, "key", part)) for part in parts), jnp.shape(leaf)


def _by_name(model: nn.Module, method: Any) -> Any:
    """Return the name of a method of the model's class, so that it is called through the conversion."""
    function = getattr(method, "__func__", method)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(type(model), name, None) is function else method


def _follow_scope(module: nn.Module) -> None:
    """Correct the paths and random streams of the scopes below a module that ``nn.share_scope`` moved up one level.

    Flax (as of 0.12) gives them a new parent only. But transformations inside the model start from the path, and
    initial parameters are drawn from the streams.
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
    """Interceptor of all calls of methods inside the model."""
    token = _running.set((*_running.get(), context.module))
    try:
        return _call(conversion, call, args, kwargs, context.module, context.method_name)
    finally:
        _running.reset(token)


def _call(conversion: Conversion, call, args, kwargs, layer: Any, method: str):
    if method == "__call__" and isinstance(layer, nn.OptimizedLSTMCell):
        return _lstm(conversion.matches, layer, call, args, kwargs)
    attends = method == "attend" and isinstance(layer, nn.Embed)
    if not (attends or (method == "__call__" and isinstance(layer, tuple(MATRIX_LAYERS)))):
        return call(*args, **kwargs)
    if conversion.encoding.layers and (layout := conversion.encoding.of(_layer_path(layer, attends))) is not None:
        return factored.encoded(layer, *args, layout=layout, contraction=conversion.encoding.contraction, **kwargs)
    mode = modes.current_or_default()
    if mode.lists_layers:
        mode.list_kind(_layer_path(layer, attends), type(layer).__name__)
    has_matrix = layer.is_initializing() or layer.has_variable("params", _matrix_name(layer))
    if _is_analog(layer) or not has_matrix:  # without the parameter, Flax raises the best error
        return call(*args, **kwargs)
    if layer.is_initializing():  # the parameters, whose shapes rules may read, exist only after the call
        result = call(*args, **kwargs)
        _decide(conversion, layer, attends, args, kwargs)
        return result
    path, hardware = _decide(conversion, layer, attends, args, kwargs)
    if hardware is None:
        return call(*args, **kwargs)
    if attends:
        return hookless.attend(layer, hardware, *args, **kwargs)
    compute = next((compute for kind, compute in _HOOKLESS.items() if isinstance(layer, kind)), None)
    if compute is not None:
        return compute(layer, hardware, *args, **kwargs)
    codec = conversion.codec if _place_of_applied(layer) is None else None
    if codec is not None and factored.is_worth_it(layer, codec, _within(layer)):
        conversion.coded.append(path)
        return factored.encoding(layer, hardware, codec, *args, **kwargs)
    return _through_hook(layer, hardware, path, call, args, kwargs)


def _decide(conversion: Conversion, layer: nn.Module, attends: bool, args, kwargs) -> tuple[str, Hardware | None]:
    """Return the path of a layer and its hardware; None if it stays digital."""
    path = _layer_path(layer, attends)
    table = nn.meta.unbox(layer.get_variable("params", _matrix_name(layer)))
    part_of = (path.rpartition("/")[0] or ROOT) if isinstance(layer, Core) else ""
    candidate = Candidate(path, layer, jnp.shape(table), _within(layer), part_of)
    return path, conversion.decide(candidate, lambda on: _obstacle(layer, on, attends, candidate, args, kwargs))


def _decide_about_product(
    conversion: Conversion, product: ParameterProduct, path: str, shape: tuple[int, ...], obstacle: Any
) -> Hardware | None:
    """Return the hardware of a product of ``analog_einsum``; None if it stays digital."""
    inner = _running.get()[-1]
    candidate = Candidate(path, product, shape, tuple(m for m in (inner, *_within(inner)) if type(m) is not Converted))
    modes.current_or_default().list_kind(path, candidate.kind)
    return conversion.decide(candidate, obstacle)


def _layer_path(layer: nn.Module, attends: bool) -> str:
    path = layer_path(layer)
    if (place := _place_of_applied(layer)) is not None:
        above = layer_path(place[0])
        path = "/".join([*([] if above == ROOT else [above]), *place[1]])
    return attending(path) if attends else path


def _place_of_applied(layer: nn.Module) -> tuple[nn.Module, list[str]] | None:
    """Return the place of a layer that the model applies with separate variables; None for all other layers.

    ``self.head.apply({"params": ...}, x)`` starts from a new root scope, apart from the model's variables. The chip and
    the ranges of such a layer are stored where they would be if it were called: below the module that applies it.

    Returns:
      The module that applies it, and the names from there to the layer.

    Raises:
      InputError: if the applied module has no name.
    """
    root, running = root_scope(layer), _running.get()
    first = next((i for i, module in enumerate(running) if root_scope(module) is root), 0)
    # A transformation (nn.scan, nn.jit) also starts from a new root scope, but that has a path or a debug_path.
    if root is None or root.path or root.debug_path or not first or isinstance(running[first - 1], Converted):
        return None
    if (name := running[first].name) is None:
        kind = type(running[first]).__name__
        raise InputError(
            f"a {kind} in {layer_path(running[first - 1])} is applied with separate variables and has no name, which "
            f"its place on the chip needs; give it one: {kind}(..., name='head')"
        )
    below: Any = layer.scope
    return running[first - 1], [name, *below.path]


def _matrix_name(layer: nn.Module) -> str:
    return next(name for kind, name in MATRIX_LAYERS.items() if isinstance(layer, kind))


def _within(module: nn.Module) -> tuple[nn.Module, ...]:
    """Return the modules of the model that contain this one, the innermost first."""
    modules: list[nn.Module] = []
    above = _holder(module)
    # By identity: Linen modules are dataclasses, and two modules with equal fields are equal.
    while above is not None and not any(above is holder for holder in modules):
        modules.append(above)
        above = _holder(above)
    return tuple(holder for holder in modules if not isinstance(holder, Converted))


def _holder(module: nn.Module) -> nn.Module | None:
    """Return the module that contains this one."""
    if isinstance(module.parent, nn.Module):
        return module.parent
    # A transformation (nn.scan) runs a clone without a parent; the module that called it is the next on the stack.
    running = _running.get()
    place = next((i for i, other in enumerate(running) if other is module), 0)
    return running[place - 1] if place else None


def _is_analog(layer: nn.Module) -> bool:
    values = (getattr(layer, name, None) for name in ("dot_general_cls", "conv_general_dilated_cls"))
    return any(getattr(v, "func", None) in (hooks.AnalogDotGeneral, hooks.AnalogConvGeneralDilated) for v in values)


def _obstacle(layer: nn.Module, hardware: Hardware, attends: bool, candidate: Candidate, args, kwargs) -> str:
    """Return why a layer cannot be converted; ``""`` if it can."""
    if _place_of_applied(layer) is not None and isinstance(layer, tuple(_HOOKLESS)):
        return "the model applies it with separate variables; write its product with analogsim.linen.analog_einsum"
    if isinstance(layer, nn.Embed) and not attends and hardware.bound_management != "none":
        return f"bound_management = {hardware.bound_management!r} widens input ranges, and a lookup has none"
    method = "attend" if attends else "__call__"
    for kind in _HOOKLESS:
        if isinstance(layer, kind) and _overrides(layer, kind, method):
            return f"its class overrides {kind.__name__}.{method}"
    if isinstance(layer, nn.Einsum):
        return _einsum_obstacle(layer, hardware, candidate, *args, **kwargs)
    hook = "conv_general_dilated" if isinstance(layer, nn.Conv) else "dot_general"
    if any(getattr(layer, name, None) is not None for name in (hook, f"{hook}_cls")):
        return f"its matmul hook {hook} is already set"
    return ""


def _einsum_obstacle(
    layer: nn.Module, hardware: Hardware, candidate: Candidate, inputs: Any, einsum_str: str | None = None
) -> str:
    """Return ``product_obstacle``; ``inputs`` and ``einsum_str`` are the arguments of the layer's call."""
    equation: str = layer.einsum_str if einsum_str is None else einsum_str
    return product_obstacle(equation, inputs, candidate.shape, hardware, candidate.path)


def _overrides(layer: nn.Module, kind: type, method: str) -> bool:
    """Return whether the layer's class derives from ``kind`` and overrides the method."""
    return any(method in vars(c) for c in type(layer).__mro__[: type(layer).__mro__.index(kind)])


def _through_hook(layer: nn.Module, hardware: Hardware, path: str, call, args, kwargs):
    """Run the layer's own code with its hook filled."""
    is_conv = isinstance(layer, nn.Conv)
    name = "conv_general_dilated_cls" if is_conv else "dot_general_cls"
    hook = (hooks.conv_hook if is_conv else hooks.dot_general_hook)(hardware)
    if (place := _place_of_applied(layer)) is not None:
        scope: Any = place[0].scope
        for below in (*place[1], "analog"):
            scope = scope.push(below, reuse=True)
        # hook.func leaves out the hook's name: a module whose parent is a scope lives in this scope itself.
        hook = functools.partial(hook.func, hardware, parent=scope)
    used = []

    def noting_hook() -> nn.Module:
        used.append(True)
        return hook()

    # Linen modules are frozen dataclasses, hence object.__setattr__. A clone with the hook would not do: it is another
    # module, with another name. The old value is restored before other code can see the hook.
    before = getattr(layer, name)
    object.__setattr__(layer, name, noting_hook)
    try:
        result = call(*args, **kwargs)
    finally:
        object.__setattr__(layer, name, before)
    if not used:
        raise cannot(Candidate(path, layer, ()), f"its class does not use Flax's hook {name}")
    return result


def _lstm(matches: Matches, layer: Any, call, args, kwargs):
    """Run the LSTM cell with fused gates as a cell with one layer per gate, which has the same parameters."""
    entered = sum(module is layer for module in _running.get())
    if entered == 1 and _overrides(layer, nn.OptimizedLSTMCell, "__call__"):
        return call(*args, **kwargs)  # if the subclass calls Flax's __call__, we get here again with entered = 2
    if not layer.is_initializing():
        return hookless.lstm(layer, *args, **kwargs)
    result = call(*args, **kwargs)
    for gate in _LSTM_GATES:  # rules must see the layers that run after initialisation
        kernel = nn.meta.unbox(layer.scope.get_variable("params", gate)["kernel"])
        # parent=None: otherwise Flax would make the layer a child of the module whose method is running.
        dense = nn.Dense(layer.features, parent=None)
        matches.decide(Candidate(f"{layer_path(layer)}/{gate}", dense, kernel.shape, (layer, *_within(layer))))
    return result
