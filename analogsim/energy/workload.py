"""What a model asks of any machine: the matrix products of its analog layers, counted an example.

A layer with n_in inputs and n_out outputs that carries v vectors an example does v n_in n_out multiply-accumulates; a
convolution's vectors are its output positions. Zeros that a transposed convolution puts between its inputs are
multiplied by nobody. All systems are billed for this same work.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from analogsim.devices.errors import InputError
from analogsim.layer import LayerUse
from analogsim.models import observe
from analogsim.operators import Convolution
from analogsim.selection import holder


@dataclasses.dataclass(frozen=True)
class LayerWork:
    """One pass through one layer, for one example.

    Attributes:
      use: the pass as observed on the whole sample.
      vectors: matrix-vector products an example.
      input_words: numbers that enter the layer an example; a convolution's image, not its overlapping patches.
      new_weights: weights in its matrix; 0 if an earlier pass went through the same matrix.
    """

    use: LayerUse
    vectors: int
    input_words: float
    new_weights: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates an example; none where rows of a table are looked up."""
        if self.use.is_look_up:
            return 0
        every = self.vectors * (self.use.n_weights or math.prod(self.use.weights.shape))
        operator = self.use.operator
        if not isinstance(operator, Convolution) or not operator.is_spread:
            return every
        return every * operator.meetings(self.use.x) // (self.use.vectors * math.prod(operator.window))

    @property
    def output_words(self) -> int:
        """Numbers that leave the layer an example."""
        return self.vectors * self.use.weights.shape[1]

    def weights_read(self, batch: int) -> float:
        """Weights that a digital machine fetches for a batch: each new one once, of a table the rows asked for."""
        return batch * self.output_words if self.use.is_look_up else self.new_weights


@dataclasses.dataclass(frozen=True)
class Workload:
    """All passes through analog layers, in order.

    Attributes:
      layers: the passes.
      other_parameters: numbers of the model that no analog layer's matrix holds (biases, layers kept digital).
    """

    layers: tuple[LayerWork, ...]
    other_parameters: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates an example."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Numbers in all matrices, each matrix once."""
        return sum(layer.new_weights for layer in self.layers)


def count(model: Any, variables: Any, x: Any, **options: Any) -> Workload:
    """Run a model digitally on the sample ``x`` (leading axis: examples) and count its work an example.

    Raises:
      InputError: if there are no examples, or a layer's work is no whole multiple of them.
    """
    leaf = jax.tree.leaves(x)[0] if jax.tree.leaves(x) else np.zeros(())
    examples = np.shape(leaf)[0] if np.ndim(leaf) else 0
    if examples == 0:
        raise InputError(f"x_sample: shape {np.shape(leaf)}: must have at least one example along its leading axis")
    layers = []
    seen: dict[tuple[str, int], list[np.ndarray]] = {}
    for use in observe(model, variables, x, **options):
        vectors, rest = divmod(use.vectors, examples)
        if rest:
            raise InputError(
                f"layer {use.path}: does {use.vectors} products for {examples} examples; the leading axis of x_sample "
                f"must be its examples (add one to a single example: x[None])"
            )
        new = (use.n_weights or use.weights.size) if _is_new(use, seen) else 0
        layers.append(LayerWork(use, vectors, use.x.size / examples, new))
    work = Workload(tuple(layers), 0)
    held = work.weights - sum(layer.new_weights for layer in layers if _is_second_copy(layer.use.path, seen))
    return dataclasses.replace(work, other_parameters=max(_parameters(model, variables) - held, 0))


def _is_new(use: LayerUse, seen: dict[tuple[str, int], list[np.ndarray]]) -> bool:
    """Whether no earlier pass had this matrix. A scanned stack has one path and many matrices, hence the values."""
    weights, known = np.asarray(use.weights), seen.setdefault((use.path, use.member), [])
    if any(np.array_equal(weights, old) for old in known):
        return False
    known.append(weights)
    return True


def _is_second_copy(path: str, seen: dict[tuple[str, int], Any]) -> bool:
    """Whether this is a table that is attended to and whose rows are looked up, too: two arrays, one parameter."""
    return path != holder(path) and (holder(path), 0) in seen


def _parameters(model: Any, variables: Any) -> int:
    from flax import nnx

    tree = nnx.state(model, nnx.Param) if variables is None else variables["params"]
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))
