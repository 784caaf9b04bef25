"""Complete Flax's lifted transformations with the collections and random streams of analog layers.

``nn.scan`` and ``nn.vmap`` pass on only the collections and streams that they name, and a model that was written
without analog hardware names those of its parameters. Chips, ranges and noise follow the parameters:

    parameters                  chip and ranges        read noise                  fabrication
    shared by steps or entries  shared                 separate for each step      shared
    stacked                     stacked along axis 0   separate for each step      separate for each entry

``nn.RNN`` and ``nn.remat_scan`` are built on ``nn.scan``; ``nn.remat`` and ``nn.jit`` pass on everything.
``nn.map_variables``, with which ``nn.WeightNorm`` and ``nn.SpectralNorm`` normalise parameters, leaves chips and ranges
unchanged. While a chip is programmed, ``nn.while_loop`` runs its body once, and ``nn.cond`` and ``nn.switch`` run all
branches, because Flax discards what loops and branches write.

Collections and streams that the author of the model names are left to the author. Flax looks its transformations up in
``flax.core.lift`` when one is created (Flax 0.12), so they are replaced there, and in classes that were transformed
before the import. Models without analog layers run as before.
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

#: Remedy for a transformation that was created before this module was imported, and passes on none of this.
RECIPE = (
    "give it variable_broadcast=[..., 'analog', 'ranges'] and split_rngs={..., 'analog': True, 'chip': False} if its "
    "steps share parameters, or variable_axes={..., 'analog': 0, 'ranges': 0} and split_rngs={..., 'analog': True, "
    "'chip': True} if they are stacked; import analogsim.linen before the transformation is created, and this is "
    "automatic"
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
        # Unlike nn.scan, nn.vmap has no variable_broadcast: the axis None shares a collection.
        options["variable_axes"] = {**axes, missing: None if shared else 0}
    _split(options, shared)


def _checkpoint(options: dict[str, Any]) -> None:
    options["variables"] = union_filters(options["variables"], _unnamed(COLLECTIONS, options["variables"]))
    options["rngs"] = union_filters(options["rngs"], _unnamed(("analog", "chip"), options["rngs"]))


def _map_variables(options: dict[str, Any]) -> None:
    mapped = options["mapped_collections"]
    if not isinstance(mapped, (str, list, tuple, set, frozenset)):  # True or DenyList, which include our collections
        options["mapped_collections"] = subtract_filters(mapped, COLLECTIONS)


def _split(options: dict[str, Any], shared: bool) -> None:
    split = options["split_rngs"]
    ours = {name: name == "analog" or not shared for name in _unnamed(("analog", "chip"), *split)}
    options["split_rngs"] = {**split, **ours}


def _unnamed(names: tuple[str, ...], *filters: Any) -> tuple[str, ...]:
    return tuple(name for name in names if not any(in_filter(named, name) for named in filters))


def _axis_of_params(axes: Any) -> Any:
    """Return the axis along which a transformation stacks parameters; None if it does not."""
    axis = next((axis for named, axis in axes.items() if in_filter(named, "params")), None)
    return getattr(axis, "axis", axis)  # nn.In(0)


def _completed(function: Callable[..., Any], complete: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    """Return a lifted transformation that first completes its settings and adds the stream ``chip`` to ``analog``."""
    signature = inspect.signature(function)

    @functools.wraps(function)  # Flax names transformed classes after the function's __name__
    def transformation(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        complete(bound.arguments)
        if "scope" in bound.arguments:  # while_loop takes the scope itself and runs immediately
            _add_chip(bound.arguments["scope"])
            return function(*bound.args, **bound.kwargs)
        lifted = function(*bound.args, **bound.kwargs)

        @functools.wraps(lifted)
        def run(scopes: Any, *inputs: Any, **options: Any) -> Any:
            _add_chip(scopes)
            return lifted(scopes, *inputs, **options)

        return run

    return transformation


def _add_chip(scopes: Any) -> None:
    """Add the stream of fabrication, so that a transformation can split ``analog`` per step without splitting it."""
    for scope in jax.tree.leaves(scopes):
        if "analog" in scope.rngs and "chip" not in scope.rngs:
            scope.rngs["chip"] = scope.rngs["analog"]
            # Flax creates the counters of a scope's streams with the scope; make_rng fails without one.
            scope.rng_counters.setdefault("chip", 0)


def _looped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def while_loop(cond_fn: Any, body_fn: Any, scope: Any, init: Any, *args: Any, **kwargs: Any) -> Any:
        if modes.current_or_default().writes:
            return body_fn(scope, init)
        return function(cond_fn, body_fn, scope, init, *args, **kwargs)

    return while_loop


def _branched(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def branch(*args: Any, **kwargs: Any) -> Any:
        if not modes.current_or_default().writes:
            return function(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        branches = [arguments[name] for name in names] if len(names) > 1 else list(arguments[names[0]])
        # Only the variables that the branches write count; any output has the shapes that the model goes on with.
        results = [run_branch(arguments["scope"], *arguments.get("operands", ())) for run_branch in branches]
        return results[0]

    return branch


_COMPLETED: dict[Callable[..., Any], Callable[..., Any]] = {}


def _replace(name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    before = getattr(lift, name)
    if not hasattr(before, "passes_chips"):  # importlib.reload runs this module again
        after: Any = make(before)
        after.passes_chips = True
        setattr(lift, name, after)
        _COMPLETED[before] = after


_replace("scan", lambda function: _completed(function, _scan))
_replace("vmap", lambda function: _completed(function, _vmap))
_replace("checkpoint", lambda function: _completed(function, _checkpoint))
_replace("jit", lambda function: _completed(function, _checkpoint))
_replace("map_variables", lambda function: _completed(function, _map_variables))
_replace("while_loop", lambda function: _looped(_completed(function, functools.partial(_split, shared=True))))
_replace("cond", lambda function: _branched(function, ("true_fun", "false_fun")))
_replace("switch", lambda function: _branched(function, ("branches",)))


def _complete(kind: type) -> None:
    """Complete the transformations of a class, and of those derived from it, that Flax made before this import."""
    for method in vars(kind).values():
        while inspect.isfunction(method):
            if "transform" in (names := method.__code__.co_freevars):
                # Flax 0.12 keeps the transformation of a method (lift.scan) in the wrapper's closure variable.
                cell: Any = (method.__closure__ or ())[names.index("transform")]
                cell.cell_contents = _COMPLETED.get(cell.cell_contents, cell.cell_contents)
            method = getattr(method, "__wrapped__", None)
    subclasses: list[type] = kind.__subclasses__()
    for derived in subclasses:
        _complete(derived)


_complete(nn.Module)
