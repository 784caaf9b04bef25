"""Which layers of a model are held as cores, and what became of each; once for all front ends."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec, CodecDoesNotFit
from analogsim.factors.record import Compression
from analogsim.factors.trains import balanced
from analogsim.hardware.rules import Candidate, Selector, selects


class CoreSelection:
    """Decides layer by layer, and keeps a record.

    Attributes:
      layers: what was compressed, by path.
      kept: what was not, and why, by path.
    """

    def __init__(self, codec: Codec, where: Selector | None = None, only_smaller: bool = True):
        self.codec, self.where, self.only_smaller = codec, where, only_smaller
        self.layers: dict[str, Compression] = {}
        self.kept: dict[str, str] = {}

    def cores(self, layer: Candidate, why_dense: str, matrix: Callable[[], Any]) -> tuple[jax.Array, ...] | None:
        """The layer's cores, or None and a reason noted; ``matrix()`` is its kernel ``[n_in, n_out]``."""
        if self.where is not None and not selects(self.where, layer):
            self.kept[layer.path] = "where does not select it"
        elif why_dense:
            self.kept[layer.path] = why_dense
        else:
            try:
                kernel = matrix()
                factors, record = self.codec.compress(kernel)
            except CodecDoesNotFit as error:
                self.kept[layer.path] = str(error)
                return None
            except InputError as error:
                raise InputError(f"layer {layer.path}: {error}") from None
            if record.params < record.layout.dense or not self.only_smaller:
                cores = balanced(factors)
                self.layers[layer.path] = Compression.of(np.asarray(kernel, np.float64), cores)
                return cores
            self.kept[layer.path] = f"its cores would take {record.params} numbers, its kernel {record.layout.dense}"
        return None

    def check(self) -> None:
        """Refuse a model of which no layer is compressed."""
        if not self.layers:
            reasons = "; ".join(f"{path}: {why}" for path, why in self.kept.items()) or "it has no dense layer"
            raise InputError(f"compress: no layer of the model is compressed: {reasons}")


def check_no_stack(path: str, cores: Any) -> None:
    """Refuse to round the cores of a stack of layers."""
    if any(core.ndim != 4 for core in cores):
        raise InputError(f"layer {path}: its cores are a stack (nn.scan, vmap); stacks of layers cannot be rounded")
