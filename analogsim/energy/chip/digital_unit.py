"""The digital unit beside the arrays: what no analog layer does, an example.

multiply-accumulates    products of two activations (attention), layers kept digital
other results           activation functions, normalisation, sums
weights                 of layers kept digital, from a memory of 1 MB, once for every run
operands                inputs and outputs of these products, from a buffer that holds them
"""

from analogsim.energy.bill import Line
from analogsim.energy.chip.analog_memory import sized_line
from analogsim.energy.work.operations import Operations
from analogsim.energy.work.primitives import COST_SOURCE
from analogsim.hardware.prices import Prices


def rest_lines(operations: Operations, prices: Prices) -> list[Line]:
    """Lines of the digital unit."""
    n = operations.examples
    macs = results = additions = multiplications = weights = 0.0
    moved: list[tuple[float, float]] = []
    for op in operations.outside_layers:
        per_example = op.repeats / n  # what runs once a call is shared by its examples
        macs, results = macs + per_example * op.macs, results + per_example * op.results
        if op.results:
            additions += op.total_additions / n
            multiplications += op.total_multiplications / n
        if op.kind != "elementwise":
            weights += per_example * op.weight_words * 4.0
            operand_bytes = (op.input_words + op.output_words) * 4.0
            moved.append((per_example * operand_bytes, operand_bytes / n if op.per_example else operand_bytes))
    result_j = prices.arithmetic_j
    behind = prices.sources("arithmetic_j")
    if multiplications:
        result_j = (additions * prices.arithmetic_j + multiplications * prices.mac_j) / results
        behind = (*prices.sources("arithmetic_j", "mac_j"), COST_SOURCE)
    rows = (
        ("MAC", macs, "", prices.mac_j, prices.sources("mac_j")),
        ("other result", results, "", result_j, behind),
        ("weights", weights, "B", prices.weight_fetch_j_per_byte, prices.sources("weight_fetch_j_per_byte")),
    )
    lines = [
        Line(component="digital unit", action=action, count=amount, unit=unit, each_j=each_j, sources=behind)
        for action, amount, unit, each_j, behind in rows if amount
    ]  # fmt: skip
    return lines + sized_line("digital unit", "operands", moved, prices)
