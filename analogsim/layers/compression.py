"""Select the layers of a model that are stored as tensor-train cores, and record the outcome; for both Flax APIs."""

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
    """Decides layer by layer whether to compress, and records the outcome.

    Attributes:
      layers: records of the compressed layers, by path.
      uncompressed: reasons why the other layers stay dense, by path.
    """

    def __init__(self, codec: Codec, where: Selector | None = None, only_smaller: bool = True):
        self.codec, self.where, self.only_smaller = codec, where, only_smaller
        self.layers: dict[str, Compression] = {}
        self.uncompressed: dict[str, str] = {}

    def cores(self, layer: Candidate, why_dense: str, matrix: Callable[[], Any]) -> tuple[jax.Array, ...] | None:
        """Return the cores of a layer, or None after recording the reason.

        Args:
          layer: the layer, as selectors see it.
          why_dense: reason why it must stay dense; ``""`` if there is none.
          matrix: function that returns its kernel ``[n_in, n_out]``; called only if needed.
        """
        if self.where is not None and not selects(self.where, layer):
            self.uncompressed[layer.path] = "where does not select it"
        elif why_dense:
            self.uncompressed[layer.path] = why_dense
        else:
            try:
                kernel = matrix()
                factors, record = self.codec.compress(kernel)
            except CodecDoesNotFit as error:
                self.uncompressed[layer.path] = str(error)
                return None
            except InputError as error:
                raise InputError(f"layer {layer.path}: {error}") from None
            if record.params < record.layout.dense or not self.only_smaller:
                cores = balanced(factors)
                self.layers[layer.path] = Compression.of(np.asarray(kernel, np.float64), cores)
                return cores
            self.uncompressed[layer.path] = (
                f"its cores would take {record.params} numbers, its kernel {record.layout.dense}"
            )
        return None

    def check(self) -> None:
        """Raise ``InputError`` if no layer of the model is compressed."""
        if not self.layers:
            reasons = "; ".join(f"{path}: {why}" for path, why in self.uncompressed.items()) or "it has no dense layer"
            raise InputError(f"compress: no layer of the model is compressed: {reasons}")


def check_no_stack(path: str, cores: Any) -> None:
    """Raise ``InputError`` for the cores of stacked layers, which cannot be rounded."""
    if any(core.ndim != 4 for core in cores):
        raise InputError(f"layer {path}: its cores are a stack (nn.scan, vmap); stacks of layers cannot be rounded")
