"""The arrays of a model under the names that a checkpoint uses."""

from typing import Any, NamedTuple


class Collections(NamedTuple):
    """The arrays of a model that a checkpoint saves, by collection.

    Attributes:
      trees: collection name to its tree of arrays; a leaf is saved under the collection's name and its path.
      fixed: collections whose leaves the model determines; those of others depend on how the model was used.
      by_layer: collections of calibrated ranges by layer and name, of which a model may have any.
      left_out: starts of the names of leaves that are not saved, because they describe the hardware.
    """

    trees: dict[str, Any]
    fixed: tuple[str, ...]
    by_layer: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
