"""What a model asks of any machine: everything it computes, and which part of it its analog layers do.

A layer with n_in inputs and n_out outputs that carries v vectors an example does v n_in n_out multiply-accumulates; a
convolution's vectors are its output positions. Zeros that a transposed convolution puts between its inputs are
multiplied by nobody. What no analog layer does (products of two activations in attention, layers kept digital,
activation functions, normalisation) is known from the traced model (``tracing``). All systems are billed for all of it.

With a sample of data the model is run on it, and its values set how hard rows are driven. With shapes alone
(``jax.ShapeDtypeStruct``) nothing is run, and ``tile_work`` assumes values.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from analogsim.base.call_inputs import apart, count_examples, inputs_of
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError
from analogsim.chips.metrics import check_inputs
from analogsim.energy.work.operations import Operation, Operations
from analogsim.energy.work.tracing import workload
from analogsim.hardware.rules import holder
from analogsim.layers import modes
from analogsim.layers.layer import LayerUse
from analogsim.models.bound import bind, observe
from analogsim.models.protocol import BoundModel
from analogsim.signal_path.operators import Convolution


@dataclasses.dataclass(frozen=True)
class LayerWork:
    """One pass through one layer, for one example.

    Attributes:
      use: the pass as observed on the whole sample.
      vectors: matrix-vector products an example.
      input_words: numbers that enter the layer an example; a convolution's image, not its overlapping patches.
      new_weights: weights in its matrix; 0 if an earlier pass went through the same matrix.
      passes: how many passes like this an example makes; through ``matrices`` different matrices.
      matrices: how many there are of this shape.
    """

    use: LayerUse
    vectors: int
    input_words: float
    new_weights: int
    passes: int = 1
    matrices: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates an example; none where rows of a table are looked up."""
        if self.use.is_lookup:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """A model's work.

    Attributes:
      layers: the passes through analog layers, in order.
      operations: everything that one run of the exact model computes.
      other_parameters: numbers of the model that no analog layer's matrix holds (biases, layers kept digital).
      kernels: the model's arrays of weights (two axes or more), for what compression makes of them; empty where only
        shapes are known.
    """

    layers: tuple[LayerWork, ...]
    operations: Operations
    other_parameters: int
    kernels: tuple[np.ndarray, ...] = ()

    def cited_values(self) -> tuple[()]:
        """Nothing: these are counts, and the figures of the layers' hardware stand in its energy breakdown."""
        return ()

    @property
    def macs(self) -> float:
        """Multiply-accumulates an example, in or out of analog layers."""
        return _whole(self.operations.macs / self.operations.examples)

    @property
    def analog_macs(self) -> int:
        """Multiply-accumulates an example in analog layers."""
        return sum(layer.passes * layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Numbers in all matrices, each matrix once."""
        return sum(layer.matrices * layer.new_weights for layer in self.layers)

    @property
    def has_values(self) -> bool:
        """Whether data were run, and not only shapes."""
        return not any(isinstance(layer.use.x, jax.ShapeDtypeStruct) for layer in self.layers)


def count(model: Any, variables: Any, x: Any, while_loops: int | None = None, **options: Any) -> Workload:
    """Count a model's work an example on the sample ``x`` (leading axis: examples), or on its shape alone.

    Raises:
      InputError: if there are no examples, or a layer's work is no whole multiple of them.
    """
    x, options = inputs_of(x, options)
    shapes = [np.shape(a) for a in apart(x)[0]] or [()]
    if not all(shape and shape[0] for shape in shapes):
        raise InputError(f"x_sample: shape {shapes[0]}: must have at least one example along its leading axis")
    examples = count_examples(x, "x_sample")
    by_shape = any(isinstance(a, jax.ShapeDtypeStruct) for a in jax.tree.leaves((variables, x)))
    if not by_shape:
        check_inputs(x, "x_sample")
    uses = [] if by_shape else observe(model, variables, x, **options)
    bound = bind(model, variables, options=options)
    operations, outlined = trace(bound, x, examples, while_loops)
    if by_shape:
        layers = layers_of(outlined, operations, examples)
        held = _held(layers)
    else:
        layers, held = _observed(uses, examples)
    parameters = jax.tree.leaves(bound.collections()["params"])
    kernels = () if by_shape else tuple(np.asarray(a) for a in parameters if np.ndim(a) > 1)
    others = max(sum(math.prod(np.shape(a)) for a in parameters) - held, 0)
    return Workload(tuple(layers), operations, others, kernels)


def trace(
    bound: BoundModel, x: Any, examples: int, while_loops: int | None = None
) -> tuple[Operations, list[LayerUse]]:
    """All operations of one run of the exact model, and its analog layers by shapes; nothing is computed."""
    mode = modes.OutliningMode()

    def run(collections: dict[str, Any], a: Any) -> Any:
        with modes.enter(mode):
            return bound.with_collections(collections).call(a)

    operations = workload(run, bound.collections(), x, examples=examples, while_loops=while_loops)
    return operations, mode.uses


def _observed(uses: list[LayerUse], examples: int) -> tuple[list[LayerWork], int]:
    layers = []
    seen: dict[tuple[str, int], list[np.ndarray]] = {}
    for use in uses:
        vectors = _each(use, use.vectors, examples)
        new = (use.n_weights or use.weights.size) if _is_new(use, seen) else 0
        layers.append(LayerWork(use, vectors, use.x.size / examples, new))
    held = sum(layer.new_weights for layer in layers if not _is_second_copy(layer.use.path, seen))
    return layers, held


def layers_of(uses: list[LayerUse], operations: Operations, examples: int) -> list[LayerWork]:
    """Layers from uses noted while tracing. How often a loop repeats one is told by the operations of its scope."""
    if not uses:
        raise InputError(NO_ANALOG_LAYER)
    sizes = {(use.path, use.member): use.n_weights or math.prod(use.weights.shape) for use in uses}
    path_sizes = {path: sum(size for (other_path, _), size in sizes.items() if other_path == path) for path, _ in sizes}
    layers: list[LayerWork] = []
    for path, size in path_sizes.items():
        layer_operations = [op for op in operations.all if op.layer == path and op.kind != "elementwise"]
        read = sum(op.new_weight_words for op in layer_operations if op.is_product)
        matrices = max(1, round(read / size))  # several where a loop goes through a stack of layers
        noted, passes = _passes([use for use in uses if use.path == path], layer_operations)
        seen_matrices: set[int] = set()
        for use in noted:
            new = 0 if use.member in seen_matrices else sizes[path, use.member]
            seen_matrices.add(use.member)
            words = math.prod(use.x.shape) / examples
            layers.append(LayerWork(use, _each(use, use.vectors, examples), words, new, passes, matrices))
    return layers


def _passes(noted: list[LayerUse], own: list[Operation]) -> tuple[list[LayerUse], int]:
    """Uses of one layer and how often each happens, so that they add up to what its operations do.

    A loop's body is noted once, or a few times where it is traced again; it runs as often as the loop is long.
    """

    def does(some: list[LayerUse]) -> int:
        return sum(use.vectors if use.is_lookup else LayerWork(use, use.vectors, 0, 0).macs for use in some)

    total = sum(op.total_macs if op.is_product else op.repeats * op.input_words for op in own)
    if total != does(noted):
        noted = list({(use.member, use.x.shape): use for use in reversed(noted)}.values())[::-1]
    return noted, max(1, round(total / max(does(noted), 1)))


def _held(layers: list[LayerWork]) -> int:
    """Parameters that the layers' matrices hold; a table that is attended to and looked up counts once."""
    paths = {layer.use.path for layer in layers}
    return sum(
        layer.matrices * layer.new_weights
        for layer in layers
        if holder(layer.use.path) == layer.use.path or holder(layer.use.path) not in paths
    )


def _each(use: LayerUse, vectors: int, examples: int) -> int:
    each, rest = divmod(vectors, examples)
    if rest:
        raise InputError(
            f"layer {use.path}: does {vectors} products for {examples} examples; the leading axis of x_sample "
            f"must be its examples (add one to a single example: x[None])"
        )
    return each


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


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
