"""Flax's lifted transformations, told of chips, ranges and noise.

``nn.scan`` and ``nn.vmap`` pass on what they are told to, and a model that was written without a thought of hardware
tells them of its parameters. What an analog layer needs beside these goes where the parameters go:

    parameters                  chip and ranges        noise of reads              fabrication
    shared by steps or entries  shared                 each step draws its own     shared
    one of a stack for each     stacked along axis 0   each step draws its own     each its own

``nn.RNN`` is built on ``nn.scan``, ``nn.remat_scan`` likewise; ``nn.remat`` and ``nn.jit`` pass on all of it.
``nn.map_variables``, with which ``nn.WeightNorm`` and ``nn.SpectralNorm`` normalise parameters, leaves chips and ranges
as they are. While a chip is programmed, ``nn.while_loop`` runs its body once, and ``nn.cond`` and ``nn.switch`` run
every branch, because what a loop or a branch writes is lost.

A collection or stream that the model's author names himself is left to him. Flax looks these functions up in
``flax.core.lift`` when a transformation is made, which is where they are replaced; in classes that were transformed
before, too. Models without the streams and collections of analog layers notice nothing.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax.core import lift
from flax.core.scope import in_filter, subtract_filters, union_filters

from analogsim.layers import modes

COLLECTIONS = ("analog", "ranges")

#: What to write where nothing of this arrives: the transformation was made before and by itself.
RECIPE = (
    "give it variable_broadcast=[..., 'analog', 'ranges'] and split_rngs={..., 'analog': True, 'chip': False} where "
    "its steps share parameters, or variable_axes={..., 'analog': 0, 'ranges': 0} and split_rngs={..., 'analog': True, "
    "'chip': True} where they are stacked; done by itself where analogsim.linen is imported before the transformation "
    "is made"
)


def _scan(options: dict[str, Any]) -> None:
    axes, broadcast, carry = options["variable_axes"], options["variable_broadcast"], options["variable_carry"]
    shared = in_filter(broadcast, "params") or in_filter(carry, "params") or _axis_of_params(axes) is None
    missing = _unnamed(COLLECTIONS, broadcast, carry, *axes)
    if shared:
        options["variable_broadcast"] = union_filters(broadcast, missing)
    elif missing:
        options["variable_axes"] = {**axes, missing: 0}
    _split(options, shared)


def _vmap(options: dict[str, Any]) -> None:
    axes = options["variable_axes"]
    shared = _axis_of_params(axes) is None
    if missing := _unnamed(COLLECTIONS, *axes):
        options["variable_axes"] = {**axes, missing: None if shared else 0}
    _split(options, shared)


def _while_loop(options: dict[str, Any]) -> None:
    _split(options, shared=True)


def _whole(options: dict[str, Any]) -> None:
    options["variables"] = union_filters(options["variables"], _unnamed(COLLECTIONS, options["variables"]))
    options["rngs"] = union_filters(options["rngs"], _unnamed(("analog", "chip"), options["rngs"]))


def _map_variables(options: dict[str, Any]) -> None:
    mapped = options["mapped_collections"]
    if not isinstance(mapped, (str, list, tuple, set, frozenset)):  # all, or all but some
        options["mapped_collections"] = subtract_filters(mapped, COLLECTIONS)


def _split(options: dict[str, Any], shared: bool) -> None:
    split = options["split_rngs"]
    ours = {name: name == "analog" or not shared for name in _unnamed(("analog", "chip"), *split)}
    options["split_rngs"] = {**split, **ours}


def _unnamed(names: tuple[str, ...], *filters: Any) -> tuple[str, ...]:
    return tuple(name for name in names if not any(in_filter(one, name) for one in filters))


def _axis_of_params(axes: Any) -> Any:
    """The axis that a transformation stacks parameters along; None where it does not."""
    axis = next((axis for one, axis in axes.items() if in_filter(one, "params")), None)
    return getattr(axis, "axis", axis)  # nn.In(0)


def _told(function: Callable[..., Any], tell: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    """The lifted transformation with its settings completed, and a stream ``chip`` beside every ``analog``."""
    signature = inspect.signature(function)

    @functools.wraps(function)  # Flax names classes after it
    def told(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        tell(bound.arguments)
        if "scope" in bound.arguments:  # a loop runs at once
            _add_chip(bound.arguments["scope"])
            return function(*bound.args, **bound.kwargs)
        lifted = function(*bound.args, **bound.kwargs)

        @functools.wraps(lifted)
        def run(scopes: Any, *inputs: Any, **options: Any) -> Any:
            _add_chip(scopes)
            return lifted(scopes, *inputs, **options)

        return run

    return told


def _add_chip(scopes: Any) -> None:
    """Fabrication draws from a stream of its own, which steps that share a chip share."""
    for scope in jax.tree.leaves(scopes):
        if "analog" in scope.rngs and "chip" not in scope.rngs:
            scope.rngs["chip"] = scope.rngs["analog"]
            scope.rng_counters.setdefault("chip", 0)


def _is_writing() -> bool:
    mode = modes.current()
    return mode is not None and mode.writes


def _looped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def while_loop(cond_fn: Any, body_fn: Any, scope: Any, init: Any, *args: Any, **kwargs: Any) -> Any:
        return body_fn(scope, init) if _is_writing() else function(cond_fn, body_fn, scope, init, *args, **kwargs)

    return while_loop


def _branched(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def branch(*args: Any, **kwargs: Any) -> Any:
        if not _is_writing():
            return function(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        branches = [arguments[name] for name in names] if len(names) > 1 else list(arguments[names[0]])
        results = [run_branch(arguments["scope"], *arguments.get("operands", ())) for run_branch in branches]
        return results[0]

    return branch


_TOLD: dict[Callable[..., Any], Callable[..., Any]] = {}


def _replace(name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    before = getattr(lift, name)
    if not hasattr(before, "told_of_chips"):
        after: Any = make(before)
        after.told_of_chips = True
        setattr(lift, name, after)
        _TOLD[before] = after


_replace("scan", lambda function: _told(function, _scan))
_replace("vmap", lambda function: _told(function, _vmap))
_replace("checkpoint", lambda function: _told(function, _whole))
_replace("jit", lambda function: _told(function, _whole))
_replace("map_variables", lambda function: _told(function, _map_variables))
_replace("while_loop", lambda function: _looped(_told(function, _while_loop)))
_replace("cond", lambda function: _branched(function, ("true_fun", "false_fun")))
_replace("switch", lambda function: _branched(function, ("branches",)))


def _complete(kind: type) -> None:
    """Complete what Flax made of a class, and of those derived from it, before this module was imported."""
    for method in vars(kind).values():
        while inspect.isfunction(method):
            if "transform" in (names := method.__code__.co_freevars):
                cell: Any = (method.__closure__ or ())[names.index("transform")]
                cell.cell_contents = _TOLD.get(cell.cell_contents, cell.cell_contents)
            method = getattr(method, "__wrapped__", None)
    derived: list[type] = type.__subclasses__(kind)
    for one in derived:
        _complete(one)


_complete(nn.Module)
