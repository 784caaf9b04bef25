"""Replace the kernels of an NNX model by cores, in a copy of the model."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from analogsim.factors.codec import Codec
from analogsim.hardware.rules import Candidate, Matches, Rules, Selector, name_of, selects
from analogsim.layers.compression import CoreSelection, check_no_stack
from analogsim.nnx.conversion import attends, candidates, is_analog, parameters
from analogsim.nnx.factored import FactoredLinear, factored, kernel_matrix, why_dense
from analogsim.nnx.hooks import path_of


def compressed(model: nnx.Module, selection: CoreSelection, contraction: str) -> nnx.Module:
    """Return a copy of the model with cores in the selected layers; see ``analogsim.codecs.compress``."""
    copy = nnx.clone(model)
    by_path = {}
    for layer in candidates(copy):
        if attends(layer):
            continue  # the same table as the Embed's lookups
        why = why_dense(layer.module, layer.within)
        cores = selection.cores(layer, why, functools.partial(kernel_matrix, layer.module))
        if cores is not None:
            by_path[layer.path] = cores

    def visit(parts: tuple, node: Any) -> Any:
        cores = by_path.get(path_of(parts)) if isinstance(node, (nnx.Linear, nnx.LinearGeneral)) else None
        return node if cores is None else factored(node, cores, contraction)

    return nnx.recursive_map(visit, copy)


def encoded(model: nnx.Module, rules: Rules, codec: Codec) -> tuple[nnx.Module, Rules]:
    """Compress the layers that the rules put on hardware.

    Args:
      model: an NNX model; not modified.
      rules: ordered rules for its layers.
      codec: codec that compresses each kernel.

    Returns:
      a copy of the model with cores, and rules that select the cores of every layer that ``rules`` select.

    Raises:
      InputError: for a rule that matches no layer, or if no layer is compressed.
    """
    matches, dense = Matches(rules), set()
    chosen: dict[str, int | None] = {}  # index of the first matching rule by path
    # Rules are decided before compression: selectors of types and shapes would see cores instead of the layers.
    for layer in candidates(model):
        hardware, _ = matches.decide(layer)
        chosen[layer.path] = next((i for i, rule in enumerate(rules) if selects(rule[0], layer)), None)
        if hardware is None or is_analog(layer) or why_dense(layer.module, layer.within):
            dense.add(layer.path)
    matches.decide_about_parameters(parameters(model))
    matches.check()
    selection = CoreSelection(codec, lambda layer: layer.path not in dense)
    copy = compressed(model, selection, "auto")
    selection.check()

    def resolved(index: int, selector: Selector) -> Selector:
        def decides(layer: Candidate) -> bool:
            path = layer.part_of or layer.path
            return chosen[path] == index if path in chosen else selects(selector, layer)

        decides.__name__ = name_of(selector)
        return decides

    return copy, tuple((resolved(i, selector), hardware) for i, (selector, hardware) in enumerate(rules))


def with_other_cores(
    model: nnx.Module, change: Callable[[tuple[jax.Array, ...]], tuple[jax.Array, ...]]
) -> tuple[nnx.Module, int]:
    """Return a copy of the model after applying ``change`` to the cores of every compressed layer, and their number.

    Calibrated ranges and chips of these layers are removed because they belong to the old cores.
    """
    copy = nnx.clone(model)
    layers = [module for _, module in nnx.iter_modules(copy) if isinstance(module, FactoredLinear)]
    for layer in layers:
        check_no_stack("of the model", layer.cores)
        layer.set_cores(change(layer.cores))
        layer.forget_ranges()
    return copy, len(layers)
