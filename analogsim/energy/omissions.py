"""Parts of a model that a system's energy breakdown does not count.

A spiking chip cannot multiply two activations, and a mesh of interferometers has no rectifier. Such work is never
costed at zero silently: the breakdown carries an ``Omission`` with its amount and the model's total of that kind.
"""

import dataclasses

from analogsim.base.tables import as_count
from analogsim.energy.work.operations import Operation, Operations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Omission:
    """Work per inference that a breakdown excludes.

    Attributes:
      what: description of the work.
      count: amount that is excluded.
      of: the model's total of that kind.
      unit: unit of both, ``"MAC"`` or ``"results"``.
    """

    what: str
    count: float
    of: float
    unit: str

    def __str__(self) -> str:
        part = "all" if self.count == self.of else f"{as_count(self.count)} of"
        return f"{part} {as_count(self.of)} {self.unit} of the model: {self.what}"


def holds_weights(op: Operation) -> bool:
    """Return True if one operand of a product is a weight matrix; else both are activations."""
    return op.weight_words > 0


def activation_products(operations: Operations) -> tuple[Omission, ...]:
    """Return the omission of products of two activations, such as those of attention; empty if there are none."""
    macs = sum(op.total_macs for op in operations.products if not holds_weights(op))
    return _found("products of two activations, as in attention", macs, operations.macs, operations.examples, "MAC")


def other_results(operations: Operations) -> tuple[Omission, ...]:
    """Return the omission of arithmetic other than products: activation functions, normalisation, sums."""
    results = operations.results
    return _found("arithmetic other than products", results, results, operations.examples, "results")


def lookups(operations: Operations) -> tuple[Omission, ...]:
    """Return the omission of lookups in tables, such as embeddings."""
    words = sum(op.repeats * op.output_words for op in operations.all if op.kind == "lookup")
    return _found("rows of lookup tables", words, words, operations.examples, "numbers")


def _found(what: str, count: float, of: float, examples: int, unit: str) -> tuple[Omission, ...]:
    return (Omission(what=what, count=count / examples, of=of / examples, unit=unit),) if count else ()
