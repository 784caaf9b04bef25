"""Operations of a computation, counted exactly from the traced function.

A matrix product of m x k with k x n does m k n multiply-accumulates; a convolution does its outputs times its window
(zeros of the padding count as in the published figures, zeros between dilated inputs do not). All other arithmetic is
counted by its results. Copies, transposes and broadcasts are not arithmetic.

Each operation records which operands are weights, which depend on the examples, and how often it runs, so that models
of systems can distinguish data fetched once per batch from data of every example.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

from analogsim.base.tables import as_count, as_text, plain, simple_table
from analogsim.base.units import show

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixProductShape:
    """The shape of a matrix product: ``count`` times ``[vectors, n_in] x [n_in, n_out]``."""

    count: int
    vectors: int
    n_in: int
    n_out: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates per run."""
        return self.count * self.vectors * self.n_in * self.n_out

    def __str__(self) -> str:
        prefix = f"{self.count} of " if self.count > 1 else ""
        return f"{prefix}{self.vectors} x {self.n_in} by {self.n_in} x {self.n_out}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvolutionShape:
    """The shape of a convolution with any number of spatial axes.

    Attributes:
      images: number of images.
      groups: feature groups; ``channels`` and ``filters`` are those of one group.
      channels, filters: input and output channels.
      pixels: pixels of a stored image, without padding.
      size: size of an image per spatial axis, with padding and input dilation.
      window, stride: extent (dilation included) and stride of the window per spatial axis.
      taps: elements of the window per spatial axis.
      outputs: output positions per spatial axis.
      meetings: pairs of a position and a tap that are multiplied; fewer than all of them if inputs are dilated.
    """

    images: int
    groups: int
    channels: int
    filters: int
    pixels: int
    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    taps: tuple[int, ...]
    outputs: tuple[int, ...]
    meetings: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates per run."""
        return self.images * self.groups * self.channels * self.filters * self.meetings

    @property
    def n_in(self) -> int:
        """Rows of the matrix of one group."""
        return self.channels * math.prod(self.taps)

    @property
    def n_out(self) -> int:
        """Columns of the matrix of one group."""
        return self.filters

    @property
    def vectors(self) -> int:
        """Vectors that are multiplied by the matrix of a group: output positions of all images."""
        return self.images * math.prod(self.outputs)

    @property
    def count(self) -> int:
        """Number of matrices, one per group."""
        return self.groups

    def __str__(self) -> str:
        by = lambda sizes: " x ".join(map(str, sizes))  # noqa: E731
        grouped = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{by(self.taps)} x {self.channels} to {self.filters}, {by(self.outputs)} positions{grouped}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a computation. An operation inside a loop runs ``repeats`` times.

    An entry of ``Operations.all``, which ``workload`` returns.

    Attributes:
      kind: ``"product"``, ``"convolution"``, ``"lookup"`` (rows of a table), ``"elementwise"``.
      primitive: name of the JAX primitive.
      scope: place in the model, from named scopes (Flax Linen names every module).
      layer: path of the analog layer that does it on analog hardware; ``""`` if none does.
      shape: shape of a product or convolution per run; else None.
      macs: multiply-accumulates per run.
      results: numbers computed by other arithmetic per run.
      multiplications: multiplications for these results per run; functions as ``primitives.COST`` counts them.
      additions: additions for these results per run; None: one per result.
      weight_words, input_words, output_words: numbers it reads and writes per run.
      new_weight_words: weights that no earlier operation has read, in all runs.
      new_input_words: inputs from outside of the computation (an argument that is not a weight, also after elementwise
        arithmetic; a state that it updates) that no earlier operation has read, in all runs.
      distinct_weight_words: distinct weights of all runs, read before or not; None: the new ones.
      weight_leaves: indices of the weight leaves that it reads.
      weight_bits, input_bits, output_bits: width of one number in bits.
      repeats: number of runs in one run of the computation.
      per_example: True if it depends on the examples; else it runs once per batch.
      loop: indices of the enclosing loops, outermost first.
      step: number of dependent products before it, counting a loop's body once; operations of the same loop and step
        are independent. None: after the previous operation.
    """

    kind: str
    primitive: str
    scope: str
    layer: str = ""
    shape: MatrixProductShape | ConvolutionShape | None = None
    macs: int = 0
    results: int = 0
    multiplications: int = 0
    additions: int | None = None
    weight_words: int = 0
    input_words: int = 0
    output_words: int = 0
    new_weight_words: int = 0
    new_input_words: int = 0
    distinct_weight_words: int | None = None
    weight_leaves: frozenset[int] = frozenset()
    weight_bits: int = 32
    input_bits: int = 32
    output_bits: int = 32
    repeats: int = 1
    per_example: bool = True
    loop: tuple[int, ...] = ()
    step: int | None = None

    @property
    def is_product(self) -> bool:
        """True for a matrix product or convolution."""
        return self.shape is not None

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all runs."""
        return self.repeats * self.macs

    @property
    def total_results(self) -> int:
        """Numbers computed by other arithmetic in all runs."""
        return self.repeats * self.results

    @property
    def total_additions(self) -> int:
        """Additions of other arithmetic in all runs."""
        return self.repeats * (self.results if self.additions is None else self.additions)

    @property
    def total_multiplications(self) -> int:
        """Multiplications of other arithmetic in all runs."""
        return self.repeats * self.multiplications

    @property
    def total_bytes(self) -> float:
        """Bytes read and written in all runs: each operand once per run, each weight once in total."""
        moved = self.input_words * self.input_bits + self.output_words * self.output_bits
        return (self.repeats * moved + self.new_weight_words * self.weight_bits) / 8

    @property
    def weight_reuse(self) -> float:
        """Multiply-accumulates per weight read; infinite for a product of two activations."""
        return self.total_macs / self.new_weight_words if self.new_weight_words else math.inf


@dataclasses.dataclass(frozen=True)
class Operations:
    """All operations of one run of a computation, in order; prints as a table.

    Returned by ``workload``, which has an example.

    Attributes:
      all: the operations.
      examples: number of examples of one run.
      parameters: number of weights in the arguments.
      uncounted: primitives whose arithmetic is not known, each with its number of runs.
    """

    all: tuple[Operation, ...]
    examples: int = 1
    parameters: int = 0
    uncounted: tuple[tuple[str, int], ...] = ()

    @property
    def products(self) -> tuple[Operation, ...]:
        """Matrix products and convolutions."""
        return tuple(op for op in self.all if op.is_product)

    @property
    def outside_layers(self) -> tuple[Operation, ...]:
        """Operations that no analog layer does."""
        return tuple(op for op in self.all if not op.layer)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(op.total_macs for op in self.all)

    @property
    def results(self) -> int:
        """Numbers that other arithmetic computes in one run."""
        return sum(op.total_results for op in self.all)

    @property
    def flop(self) -> int:
        """Floating-point operations of one run: two per multiply-accumulate, one per other result."""
        return 2 * self.macs + self.results

    @property
    def weights(self) -> int:
        """Weights that products and lookups read in one run, each once."""
        return sum(op.new_weight_words for op in self.all)

    @property
    def total_bytes(self) -> float:
        """Bytes that products and lookups move in one run if nothing stays on the chip between operations."""
        return sum(op.total_bytes for op in self.all if op.kind != "elementwise")

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: floating-point operations per byte."""
        return self.flop / self.total_bytes if self.total_bytes else math.inf

    def table(self) -> "rich.table.Table":
        """Return a table with one row per product, convolution or lookup."""
        table = simple_table(
            f"One run for {self.examples} example{'s' if self.examples != 1 else ''}: {as_count(self.macs)} MAC, "
            f"{as_count(self.results)} other results, {show(self.total_bytes, 'B')} moved, {self.intensity:.3g} FLOP/B"
        )
        for name, justify in (("operation", "left"), ("where", "left"), ("shape", "left"), ("runs", "right"),
                              ("MAC", "right"), ("weights", "right"), ("in", "right"), ("out", "right"),
                              ("MAC/weight", "right")):  # fmt: skip
            table.add_column(name, justify=justify, no_wrap=name not in ("where", "shape"))  # type: ignore[arg-type]
        for op in self.all:
            if op.kind == "elementwise":
                continue
            reuse = f"{op.weight_reuse:.3g}" if math.isfinite(op.weight_reuse) else ""
            weights = f"{as_count(op.new_weight_words)} x {op.weight_bits} b" if op.new_weight_words else "none new"
            where = plain(op.layer or op.scope)
            table.add_row(op.kind, where, "" if op.shape is None else str(op.shape), str(op.repeats),
                          as_count(op.total_macs), weights, as_count(op.repeats * op.input_words),
                          as_count(op.repeats * op.output_words), reuse)  # fmt: skip
        notes = ["Other arithmetic (activation functions, normalisation, sums) is counted by its results."]
        if self.uncounted:
            listed = ", ".join(f"{name} ({times})" for name, times in self.uncounted)
            notes.append(f"Not counted, as their arithmetic is not known: {listed}.")
        table.caption = "\n".join(notes)
        return table

    def __str__(self) -> str:
        return as_text(self.table(), width=150)
