"""The digital unit next to the arrays: work per example that no analog layer does.

multiply-accumulates    products of two activations (attention), digital layers
other results           activation functions, normalisation, sums
weights                 of digital layers, from a memory of 1 MB, once per run
operands                inputs and outputs of these products, from a buffer large enough for them
"""

from analogsim.energy.breakdown import EnergyItem
from analogsim.energy.chip.analog_memory import sized_item
from analogsim.energy.work.operations import Operations
from analogsim.energy.work.primitives import COST_SOURCE
from analogsim.hardware.energy_table import EnergyTable


def rest_items(operations: Operations, energy_table: EnergyTable) -> list[EnergyItem]:
    """Return the energy items of the digital unit per example."""
    n = operations.examples
    macs = results = additions = multiplications = weights = 0.0
    moved: list[tuple[float, float]] = []
    for op in operations.outside_layers:
        per_example = op.repeats / n  # an operation that runs once per call is divided among its examples
        macs, results = macs + per_example * op.macs, results + per_example * op.results
        if op.results:
            additions += op.total_additions / n
            multiplications += op.total_multiplications / n
        if op.kind != "elementwise":
            weights += per_example * op.weight_words * 4.0
            operand_bytes = (op.input_words + op.output_words) * 4.0
            moved.append((per_example * operand_bytes, operand_bytes / n if op.per_example else operand_bytes))
    result_j = energy_table.arithmetic_j
    sources = energy_table.sources("arithmetic_j")
    if multiplications:
        result_j = (additions * energy_table.arithmetic_j + multiplications * energy_table.mac_j) / results
        sources = (*energy_table.sources("arithmetic_j", "mac_j"), COST_SOURCE)
    rows = (
        ("MAC", macs, "", energy_table.mac_j, energy_table.sources("mac_j")),
        ("other result", results, "", result_j, sources),
        (
            "weights",
            weights,
            "B",
            energy_table.weight_fetch_j_per_byte,
            energy_table.sources("weight_fetch_j_per_byte"),
        ),
    )
    items = [
        EnergyItem(
            component="digital unit",
            action=action,
            count=amount,
            unit=unit,
            unit_energy_j=unit_energy_j,
            sources=row_sources,
        )
        for action, amount, unit, unit_energy_j, row_sources in rows
        if amount
    ]
    return items + sized_item("digital unit", "operands", moved, energy_table)
