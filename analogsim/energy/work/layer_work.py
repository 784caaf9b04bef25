"""The work of a model: everything it computes, and which part of it the analog layers do.

A layer with n_in inputs and n_out outputs and v vectors per example does v n_in n_out multiply-accumulates; the vectors
of a convolution are its output positions. Zeros that a transposed convolution inserts between its inputs are not
counted. Work outside of analog layers (products of two activations in attention, digital layers, activation
functions, normalisation) is counted in the traced model (``tracing``). Every system is charged for all of it.

With a sample of data the model is run on it, and the values set how strongly rows are driven. With shapes alone
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
from analogsim.base.types import PyTree
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
    """One pass through one analog layer, for one example. An entry of ``Workload.layers``.

    Attributes:
      use: the pass as observed on the whole sample.
      vectors: matrix-vector products per example.
      input_words: numbers that enter the layer per example; the image of a convolution, not its overlapping patches.
      new_weights: weights in its matrix; 0 if an earlier pass used the same matrix.
      passes: number of such passes per example, through ``matrices`` different matrices.
      matrices: number of matrices of this shape.
    """

    use: LayerUse
    vectors: int
    input_words: float
    new_weights: int
    passes: int = 1
    matrices: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates per example; 0 for a lookup."""
        if self.use.is_lookup:
            return 0
        dense_macs = self.vectors * (self.use.n_weights or math.prod(self.use.weights.shape))
        operator = self.use.operator
        if not isinstance(operator, Convolution) or not operator.is_spread:
            return dense_macs
        return dense_macs * operator.meetings(self.use.x) // (self.use.vectors * math.prod(operator.window))

    @property
    def output_words(self) -> int:
        """Numbers that leave the layer per example."""
        return self.vectors * self.use.weights.shape[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """The work of a model per inference. Returned by ``count``, which has an example.

    Attributes:
      layers: the passes through analog layers, in order.
      operations: all operations of one run of the digital model.
      other_parameters: number of parameters outside of analog matrices (biases, digital layers).
      kernels: the model's weight arrays (two axes or more), to measure their compression; empty if only shapes are
        known.
    """

    layers: tuple[LayerWork, ...]
    operations: Operations
    other_parameters: int
    kernels: tuple[np.ndarray, ...] = ()

    def cited_values(self) -> tuple[()]:
        """Return nothing to cite: these are counts, and the energy breakdown cites the hardware's figures."""
        return ()

    @property
    def macs(self) -> float:
        """Multiply-accumulates per example, inside and outside of analog layers."""
        return _as_integer(self.operations.macs / self.operations.examples)

    @property
    def analog_macs(self) -> int:
        """Multiply-accumulates per example in analog layers."""
        return sum(layer.passes * layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Weights in all analog matrices, each matrix once."""
        return sum(layer.matrices * layer.new_weights for layer in self.layers)

    @property
    def has_values(self) -> bool:
        """True if the model was run on data, False if only shapes are known."""
        return not any(isinstance(layer.use.x, jax.ShapeDtypeStruct) for layer in self.layers)


def count(model: Any, variables: PyTree, x: Any, while_loops: int | None = None, **options: Any) -> Workload:
    """Count the work of a model per example.

    Args:
      model: a Linen or NNX model with analog layers.
      variables: the variables of a Linen model; None for an NNX model.
      x: sample ``[batch, ...]``, arrays or ``jax.ShapeDtypeStruct``; with shapes nothing is run.
      while_loops: number of iterations of ``while`` loops.
      **options: keyword arguments of the model's call.

    Returns:
      The work, with the passes through analog layers and all operations of the digital model.

    Raises:
      InputError: if there are no examples or no analog layer, a layer's work is not a multiple of the number of
        examples, or a ``while`` loop has no ``while_loops``.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.ShapeDtypeStruct((2, 4), np.float32)
      >>> work = count(layer, jax.eval_shape(layer.init, jax.random.key(0), x), x)
      >>> work.macs, work.weights, work.other_parameters     # 4 x 3 weights; 3 biases are digital
      (12, 12, 3)
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
        n_analog = _analog_parameters(layers)
    else:
        layers, n_analog = _observed(uses, examples)
    parameters = jax.tree.leaves(bound.collections()["params"])
    kernels = () if by_shape else tuple(np.asarray(a) for a in parameters if np.ndim(a) > 1)
    others = max(sum(math.prod(np.shape(a)) for a in parameters) - n_analog, 0)
    return Workload(tuple(layers), operations, others, kernels)


def trace(
    bound: BoundModel, x: Any, examples: int, while_loops: int | None = None
) -> tuple[Operations, list[LayerUse]]:
    """Trace the digital model; return the operations of one run and the analog layers, by shapes. Computes nothing."""
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
        vectors = _per_example(use, use.vectors, examples)
        new = (use.n_weights or use.weights.size) if _is_new(use, seen) else 0
        layers.append(LayerWork(use, vectors, use.x.size / examples, new))
    n_analog = sum(layer.new_weights for layer in layers if not _is_second_copy(layer.use.path, seen))
    return layers, n_analog


def layers_of(uses: list[LayerUse], operations: Operations, examples: int) -> list[LayerWork]:
    """Return the layers from the uses recorded while tracing; their scope's operations tell how often each runs."""
    if not uses:
        raise InputError(NO_ANALOG_LAYER)
    sizes = {(use.path, use.member): use.n_weights or math.prod(use.weights.shape) for use in uses}
    path_sizes = {path: sum(size for (other_path, _), size in sizes.items() if other_path == path) for path, _ in sizes}
    layers: list[LayerWork] = []
    for path, size in path_sizes.items():
        layer_operations = [op for op in operations.all if op.layer == path and op.kind != "elementwise"]
        read = sum(op.new_weight_words for op in layer_operations if op.is_product)
        matrices = max(1, round(read / size))  # several if a loop runs through a stack of layers
        recorded, passes = _passes([use for use in uses if use.path == path], layer_operations)
        seen_matrices: set[int] = set()
        for use in recorded:
            new = 0 if use.member in seen_matrices else sizes[path, use.member]
            seen_matrices.add(use.member)
            words = math.prod(use.x.shape) / examples
            layers.append(LayerWork(use, _per_example(use, use.vectors, examples), words, new, passes, matrices))
    return layers


def _passes(recorded: list[LayerUse], layer_operations: list[Operation]) -> tuple[list[LayerUse], int]:
    """Return the uses of one layer and how often each happens, so that they add up to the work of its operations.

    The body of a loop is recorded once, or a few times if JAX traces it again, but runs once per iteration.
    """

    def work_of(uses: list[LayerUse]) -> int:
        return sum(use.vectors if use.is_lookup else LayerWork(use, use.vectors, 0, 0).macs for use in uses)

    total = sum(op.total_macs if op.is_product else op.repeats * op.input_words for op in layer_operations)
    if total != work_of(recorded):
        recorded = list({(use.member, use.x.shape): use for use in reversed(recorded)}.values())[::-1]
    return recorded, max(1, round(total / max(work_of(recorded), 1)))


def _analog_parameters(layers: list[LayerWork]) -> int:
    """Count the parameters in the layers' matrices; a table used both for lookup and as a matrix counts once."""
    paths = {layer.use.path for layer in layers}
    return sum(
        layer.matrices * layer.new_weights
        for layer in layers
        if holder(layer.use.path) == layer.use.path or holder(layer.use.path) not in paths
    )


def _per_example(use: LayerUse, vectors: int, examples: int) -> int:
    per_example, rest = divmod(vectors, examples)
    if rest:
        raise InputError(
            f"layer {use.path}: does {vectors} products for {examples} examples, not a multiple; the leading axis of "
            f"x_sample must be the batch (for a single example: x[None])"
        )
    return per_example


def _as_integer(number: float) -> float:
    return int(number) if number == int(number) else number


def _is_new(use: LayerUse, seen: dict[tuple[str, int], list[np.ndarray]]) -> bool:
    # A scanned stack of layers has one path and many matrices, so the values have to be compared.
    weights, earlier = np.asarray(use.weights), seen.setdefault((use.path, use.member), [])
    if any(np.array_equal(weights, old) for old in earlier):
        return False
    earlier.append(weights)
    return True


def _is_second_copy(path: str, seen: dict[tuple[str, int], Any]) -> bool:
    """Return True for the matrix of a tied embedding whose lookup table is also there: two arrays, one parameter."""
    return path != holder(path) and (holder(path), 0) in seen
