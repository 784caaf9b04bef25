"""Low, typical and high mean the same everywhere: ends of what is reported, and a middle that is neither of them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from analogsim import InputError, preset
from analogsim.base import Source
from analogsim.energy import FORMATS, SYSTEMS, EnergyItem, ModelDoesNotFit, compare, devices
from analogsim.energy.breakdown import merge_items
from analogsim.energy.carbon import embodied
from analogsim.energy.machines import digital, photonic
from analogsim.energy.machines.number_formats import DRAM
from analogsim.linen import AnalogDense
from tests.energy.energy_models import shapes

#: Small and waiting, reused, large and bound by memory, large and bound by arithmetic.
WORK = {
    "small": (shapes((64, 10, 3, 192)), 1),
    "layers": (shapes((300, 200, 1, 300), (200, 10, 1, 200)), 256),
    "memory": (shapes((16384, 16384, 1, 16384)), 1),
    "arithmetic": (shapes((1500, 1400, 3000, 4_500_000)), 64),
}


def in_order(line):
    """Typical between the ends; at one of them only where both are one, or the line says why."""
    low, typical, high = line.energy_low_j, line.energy_j, line.energy_high_j
    assert low <= typical * (1 + 1e-12), line
    assert typical <= high * (1 + 1e-12), line
    one = high - low <= 1e-12 * high
    assert one or line.at_end or low * (1 + 1e-9) < typical < high * (1 - 1e-9), line
    inside = low * (1 + 1e-9) < typical < high * (1 - 1e-9)
    assert not (inside and line.at_end), f"says that typical is an end, where it is none: {line}"


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("name", SYSTEMS)
def test_typical_is_neither_end_on_any_machine(name, work):
    try:
        breakdown = SYSTEMS[name].breakdown(*WORK[work])
    except ModelDoesNotFit:
        pytest.skip("maps of this work do not fit its memory")
    for line in breakdown.items:
        in_order(line)


def hardware_lines(**changes):
    layer, x = AnalogDense(12, hardware=preset(changes.pop("name", "pcm"), **changes)), jnp.ones((1, 20))
    shaped = jax.ShapeDtypeStruct(x.shape, x.dtype)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return compare(layer, variables, shaped, systems=(), batch=1).hardware.items


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"name": "reram"}, ""),
        ({"name": "int8"}, ""),
        ({"energy_table.adc_model": "floor"}, "EnergyTable.adc_model selects the survey's floor"),
        ({"energy_table.adc_model": "median"}, "EnergyTable.adc_model selects the survey's median"),
        ({"adc.bits": 4}, "the hardware's energy per conversion lies above the survey's median"),
        ({"energy_table.supply_v": 0.3}, "the hardware's energy per conversion lies below the survey's floor"),
    ],
)
def test_typical_is_neither_end_on_hardware(changes, reason):
    lines = hardware_lines(**changes)
    for line in lines:
        in_order(line)
    assert {line.at_end for line in lines} - {""} == ({reason} if reason else set())


def test_the_middle_of_two_ends_is_their_geometric_mean():
    for kind in DRAM.values():
        logs = math.log(kind.low_j_per_bit), math.log(kind.high_j_per_bit)
        assert kind.typical_j_per_bit == pytest.approx(math.exp(sum(logs) / 2))
    # HBM3, 4 and 7 pJ a bit: 5.29; DDR4, 15 and 20: 17.3.
    assert DRAM["HBM3"].typical_j_per_bit == pytest.approx(5.2915e-12, rel=1e-4)
    assert DRAM["DDR4"].typical_j_per_bit == pytest.approx(17.3205e-12, rel=1e-4)
    for name in ("Loihi", "SpiNNaker", "SpiNNaker2", "brain", "brain vesicles"):
        line = SYSTEMS[name].breakdown(*WORK["small"]).items[0]
        assert line.energy_j == pytest.approx((line.energy_low_j * line.energy_high_j) ** 0.5), name


def test_pairs_and_triples_of_data_rise():
    for field in dataclasses.fields(photonic.Mesh):
        values = getattr(photonic.Mesh(), field.name)
        if isinstance(values, tuple):
            low, typical, high = values[::-1] if field.name == "wall_plug" else values  # an efficiency: best first
            assert low < typical < high, field.name
    made = embodied(1e-4, "7nm", memory_gb=8)
    assert made.low_kg < made.typical_kg < made.high_kg


def test_power_of_the_board_is_tdp_at_most():
    device, (work, batch) = devices()["H100"], WORK["small"]
    breakdown = digital.breakdown(device, work, batch)
    assert breakdown.energy_high_j * batch <= device.tdp_w * breakdown.latency_s * (1 + 1e-9)
    assert set(FORMATS) >= {device.number_format}


def test_a_range_that_its_typical_leaves_is_refused():
    line = EnergyItem(
        component="ADC",
        action="convert",
        count=1,
        unit="",
        unit_energy_j=5e-12,
        unit_energy_low_j=6e-12,
        unit_energy_high_j=7e-12,
        sources=(Source(note="a test"),),
        layer="dense",
    )
    with pytest.raises(InputError, match="of layer dense: typical 5e-12 J must lie between 6e-12 and 7e-12 J"):
        merge_items([line])
    merge_items([dataclasses.replace(line, unit_energy_j=6e-12)])
