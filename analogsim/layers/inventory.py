"""A tour of a model by shapes: its analog layers, its digital ones, and products that no layer does.

Nothing is computed. The model is traced with its analog layers doing no more than noting themselves
(``modes.InventoryMode``); the products with parameters that are left in the trace are those of digital layers, which
the tour knows too, and strays.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from analogsim.hardware.rules import ROOT, holder
from analogsim.layers import modes
from analogsim.layers.weight_products import WeightProduct, weight_products


class Inventory(NamedTuple):
    """What a model is made of.

    Attributes:
      layers: analog layers in the order of their use, a layer that is used twice twice.
      digital: layers that stay digital: path to (class, shape of the kernel, why).
      order: paths of both, in the order of their first use.
      kinds: class of every layer, by path.
      strays: products with parameters outside of any layer.
      parameters: a number by path, equal for layers that share one parameter; empty where each has its own.
    """

    layers: list[modes.ListedLayer]
    digital: dict[str, tuple[str, tuple[int, ...], str]]
    order: list[str]
    kinds: dict[str, str]
    strays: list[WeightProduct]
    parameters: Mapping[str, int] = MappingProxyType({})


def inventory(run: Callable[..., Any], parameters: Any, args: tuple, known_paths: Any = ()) -> Inventory:
    """The tour of ``run(parameters, *args)``.

    Args:
      run: a function that runs the model.
      parameters: what it multiplies with, a tree.
      args: its inputs.
      known_paths: paths of layers, beyond those that note themselves, whose products are no strays.
    """
    listing = modes.InventoryMode()
    with modes.enter(listing):
        products = weight_products(run, parameters, *args)
    held = {*known_paths, *listing.digital, *map(holder, listing.digital)}
    strays = [p for p in products if p.path not in held and (p.path.rpartition("/")[0] or ROOT) not in held]
    return Inventory(listing.layers, listing.digital, list(listing.order), listing.kinds, strays)
