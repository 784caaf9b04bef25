"""What of the model itself a machine's bill does not count, from the traced operations, so that every bill can say it.

A spiking chip has no product of two activations, a mesh of light no rectifier. Such work is left out of its bill, never
priced at nothing without a word: each bill carries an ``Omission`` for it, with how much there is of how much in all.
"""

import dataclasses

from analogsim.base.tables import many
from analogsim.energy.work.operations import Operation, Operations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Omission:
    """Part of what the model computes, an inference, that a bill leaves out.

    Attributes:
      what: in words.
      count, of: how much, of how much the model has of that kind.
      unit: of both, ``"MAC"`` or ``"results"``.
    """

    what: str
    count: float
    of: float
    unit: str

    def __str__(self) -> str:
        share = "all" if self.count == self.of else f"{many(self.count)} of"
        return f"{share} {many(self.of)} {self.unit} of the model: {self.what}"


def holds_weights(op: Operation) -> bool:
    """Whether a product has a matrix that can be held; else both operands are activations."""
    return op.weight_words > 0


def activation_products(operations: Operations) -> tuple[Omission, ...]:
    """Products of two activations, such as those of attention."""
    macs = sum(op.total_macs for op in operations.products if not holds_weights(op))
    return _found("products of two activations, as in attention", macs, operations.macs, operations.examples, "MAC")


def other_results(operations: Operations) -> tuple[Omission, ...]:
    """Arithmetic other than products: activation functions, normalisation, sums."""
    results = operations.results
    return _found("arithmetic other than products", results, results, operations.examples, "results")


def lookups(operations: Operations) -> tuple[Omission, ...]:
    """Rows of tables, such as embeddings."""
    words = sum(op.repeats * op.output_words for op in operations.all if op.kind == "lookup")
    return _found("rows of lookup tables", words, words, operations.examples, "numbers")


def _found(what: str, count: float, of: float, examples: int, unit: str) -> tuple[Omission, ...]:
    return (Omission(what=what, count=count / examples, of=of / examples, unit=unit),) if count else ()
