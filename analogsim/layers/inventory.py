"""Inventory of a model's layers by abstract evaluation, and of matrix products outside of any known layer.

The model is traced in ``modes.InventoryMode``, in which analog layers record themselves and leave out their product.
The products with parameters that remain in the trace belong to digital layers, which are known, or to no layer.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from analogsim.base.types import PyTree
from analogsim.hardware.rules import ROOT, holder
from analogsim.layers import modes
from analogsim.layers.weight_products import WeightProduct, weight_products


class Inventory(NamedTuple):
    """The layers of a model.

    Attributes:
      layers: uses of analog layers in order; a layer that is used twice is listed twice.
      digital: layers that stay digital: (class, shape of the kernel, reason) by path.
      order: paths of analog and digital layers in the order of their first use.
      kinds: classes of all layers by path.
      strays: products with parameters outside of any layer.
      parameters: an integer per path that identifies the layer's parameter; equal for layers that share it. Empty if
        every layer has a separate parameter.
    """

    layers: list[modes.ListedLayer]
    digital: dict[str, tuple[str, tuple[int, ...], str]]
    order: list[str]
    kinds: dict[str, str]
    strays: list[WeightProduct]
    parameters: Mapping[str, int] = MappingProxyType({})


def inventory(run: Callable[..., Any], parameters: PyTree, args: tuple, known_paths: Iterable[str] = ()) -> Inventory:
    """List the layers and products of ``run(parameters, *args)``.

    Args:
      run: function that runs the model.
      parameters: its parameters, a pytree.
      args: its inputs.
      known_paths: paths of layers whose products are not strays, in addition to the layers that record themselves.
    """
    listing = modes.InventoryMode()
    with modes.enter(listing):
        products = weight_products(run, parameters, *args)
    digital = {*known_paths, *listing.digital, *map(holder, listing.digital)}
    strays = [p for p in products if p.path not in digital and (p.path.rpartition("/")[0] or ROOT) not in digital]
    return Inventory(listing.layers, listing.digital, list(listing.order), listing.kinds, strays)
