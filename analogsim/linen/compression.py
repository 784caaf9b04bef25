"""Compress kernels of a Linen model to cores: ``<path>/kernel`` becomes ``<path>/core_0/kernel``, and so on.

The model is wrapped and computes these layers core by core; its other variables stay unchanged.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from analogsim.base.call_inputs import Inputs
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.factors.layout import CoreLayout
from analogsim.hardware.rules import ROOT, Candidate, attending, holder
from analogsim.layers.compression import CoreSelection, check_no_stack
from analogsim.layers.inventory import inventory
from analogsim.linen.conversion import Converted
from analogsim.linen.factored import Encoding, why_dense

Cores = tuple[jax.Array, ...]


def compressed(
    model: nn.Module, variables: dict[str, Any], x: Inputs, selection: CoreSelection, contraction: str,
    options: dict[str, Any],
) -> tuple[Converted, dict[str, Any]]:  # fmt: skip
    """Return the model that runs the selected layers as cores, and its variables; see ``analogsim.codecs.compress``."""
    if isinstance(model, Converted):
        raise InputError("model: is already converted or compressed; compress the plain model, then convert the result")
    params = nn.meta.unbox(variables["params"])
    layouts = []
    for layer in _matrix_layers(model, variables, x, options):
        names = [] if layer.path == ROOT else layer.path.split("/")
        old = params
        for name in names:
            old = old[name]
        why = why_dense(layer.module, layer.within)
        kernel = old.get("kernel", old.get("embedding"))
        if not why and kernel.shape != layer.shape:
            why = "it is a stack of layers (nn.scan, nn.vmap)"
        n_out = 1 if why else _n_out(layer)
        cores = selection.cores(layer, why, functools.partial(jnp.reshape, kernel, (-1, n_out)))
        if cores is not None:
            rest = {name: value for name, value in old.items() if name != "kernel"}
            params = _with(params, names, rest | {f"core_{k}": {"kernel": core} for k, core in enumerate(cores)})
            layouts.append((layer.path, CoreLayout.of(cores)))
    wrapped = Converted(model, (), strict=False, encoding=Encoding(tuple(layouts), contraction))
    return wrapped, variables | {"params": params}


def _matrix_layers(model: nn.Module, variables: PyTree, x: Inputs, options: dict[str, Any]) -> list[Candidate]:
    """Return the layers of a model that have a matrix, from shapes only."""
    layers: dict[str, Candidate] = {}

    def note(layer: Candidate) -> bool:
        if layer.module is not None:
            layers.setdefault(layer.path, layer)
        return True

    noting = Converted(model, ((note, None),), strict=False)

    def run(params: PyTree, inputs: Any) -> Any:
        return inputs.call(noting.apply, {**variables, "params": params}, **options)

    # Pass x with its shape unchanged: the model may take one example without a batch axis.
    inventory(run, variables["params"], (jax.eval_shape(lambda a: a, x),))
    return [
        layer
        for layer in layers.values()
        if not (isinstance(layer.module, nn.Embed) and layer.path == attending(holder(layer.path)))
    ]


def _n_out(layer: Candidate) -> int:
    features = layer.module.features
    count = 1 if isinstance(features, int) else len(tuple(features))
    return math.prod(layer.shape[len(layer.shape) - count :])


def _with(tree: PyTree, names: list[str], value: Any) -> Any:
    """Return the nested dictionary with a new value at a path."""
    if not names:
        return value
    return {**tree, names[0]: _with(tree[names[0]], names[1:], value)}


def with_other_cores(item: dict[str, Any], change: Callable[[Cores], Cores]) -> tuple[dict[str, Any], int]:
    """Return variables with ``change(cores)`` in every layer stored as cores, and the number of these layers.

    The ranges and chips of the old cores are removed. Cores of stacked layers (``nn.scan``) raise ``InputError``.
    """
    by_path = dict(factored_layers(item["params"]))
    for path, cores in by_path.items():
        check_no_stack(path, cores)
    result = {**item, "params": _changed(item["params"], change)}
    for name in ("ranges", "analog"):
        if name in item:
            result[name] = _without_cores(item[name], item["params"])
    return result, len(by_path)


def factored_layers(params: PyTree, path: str = "") -> Iterator[tuple[str, Cores]]:
    """Yield the path and the cores of every layer of a Linen model that is stored as cores.

    Args:
      params: collection ``params`` of the model's variables, of arrays or of ``jax.ShapeDtypeStruct``.
      path: path of ``params`` within the model, to which the paths are appended.

    Example:
      >>> from analogsim.linen import LowRankDense
      >>> params = jax.eval_shape(LowRankDense(16).init, jax.random.key(0), jnp.ones((1, 64)))["params"]
      >>> [(path, [core.shape for core in cores]) for path, cores in factored_layers(params)]
      [('(the model itself)', [(1, 64, 1, 8), (8, 1, 16, 1)])]
    """
    if not hasattr(params, "items"):
        return
    if (cores := _cores(params)) is not None:
        yield path or ROOT, cores
        return
    for name, inner in params.items():
        yield from factored_layers(inner, f"{path}/{name}" if path else name)


def _cores(params: PyTree) -> Cores | None:
    cores: list[jax.Array] = []
    # A parameter of the user's may be called core_0, too: an array has no keys.
    while hasattr(core := params.get(f"core_{len(cores)}"), "keys") and set(core) == {"kernel"}:
        cores.append(nn.meta.unbox(core["kernel"]))
    # Kernels of cores have four axes, or five in a stack (nn.scan), and their ranks fit together, from 1 to 1. A user's
    # layers may be called core_0, too: a Dense has two axes, a convolution another window, and most have a bias.
    if not cores or any(core.ndim not in (4, 5) for core in cores):
        return None
    ranks = [(core.shape[-4], core.shape[-1]) for core in cores]
    fit = ranks[0][0] == ranks[-1][1] == 1 and all(a[1] == b[0] for a, b in itertools.pairwise(ranks))
    return tuple(cores) if fit else None


def _without_cores(tree: PyTree, params: PyTree) -> Any:
    """Return another collection (ranges, chips) without the entries of cores."""
    if not hasattr(tree, "items") or not hasattr(params, "items"):
        return tree
    gone = {f"core_{k}" for k in range(len(_cores(params) or ()))}
    rest = {name: _without_cores(inner, params.get(name)) for name, inner in tree.items() if name not in gone}
    return {name: inner for name, inner in rest.items() if not (isinstance(inner, dict) and not inner and tree[name])}


def _changed(params: PyTree, change: Callable[[Cores], Cores]) -> Any:
    if not hasattr(params, "items"):
        return params
    if (cores := _cores(params)) is None:
        return {name: _changed(inner, change) for name, inner in params.items()}
    return {**params, **{f"core_{k}": {"kernel": core} for k, core in enumerate(change(cores))}}
