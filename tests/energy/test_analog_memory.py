"""Memory outside of an analog chip, and buffers by their size, worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from analogsim import EnergyTable, convert, preset
from analogsim.energy import compare
from analogsim.energy.chip import analog_memory, digital_unit
from analogsim.energy.machines import photonic
from analogsim.energy.machines.number_formats import DRAM
from analogsim.linen import AnalogDense
from tests.energy.energy_models import line, mlp, of_ones, shapes
from tests.energy.test_traffic import CONTEXT, LAYERS, TOKENS, WIDTH, gpt2


def found_lines(work, energy_table):
    plan = analog_memory.plan_of((), work.operations, energy_table)
    return {
        (x.component, x.action): x
        for x in [
            *digital_unit.rest_items(work.operations, energy_table),
            *analog_memory.memory_items(plan, work.operations, energy_table),
        ]
    }


def test_what_enters_and_leaves_a_network_passes_the_memory():
    # 64 numbers in, as wide as the 8-bit DAC, and 10 out; the 64 in between stay.
    result = compare(*mlp(), systems=(), batch=1)
    assert line(result, "memory").count == 64 + 10
    assert line(result, "memory").energy_j == pytest.approx(74 * 64e-12)
    assert not [x for x in result.hardware.items if x.action == "large maps"]  # 8 kB beside a tile hold them
    assert "memory outside" not in result.hardware.excludes


def test_a_key_value_cache_comes_from_outside_of_an_analog_chip_too():
    # In 32 bits twice the 37.7 MB of bfloat16; weights, 498 MB, do not stay in 8 MB; the row of the table; the ends.
    weights = 4 * (LAYERS * 12 * WIDTH**2 + TOKENS * WIDTH)
    cache = 4 * LAYERS * 2 * WIDTH * CONTEXT
    lines = found_lines(gpt2(), EnergyTable())
    assert lines["memory", "transfer"].count == pytest.approx(weights + cache + 4 * (1 + WIDTH + TOKENS))
    assert lines["memory", "transfer"].unit_energy_j == 64e-12
    # Keys of a layer are 3.1 MB: operands come from banks of 1 MB, not of 8 kB.
    assert lines["digital unit", "operands"].unit_energy_j > 0.98 * EnergyTable().weight_fetch_j_per_byte


def test_weights_that_stay_on_the_chip_are_read_from_outside_once_in_its_life():
    work = shapes((1000, 1000, 1, 1000))  # 4 MB in 32 bits
    work = dataclasses.replace(
        work,
        operations=dataclasses.replace(work.operations, all=(dataclasses.replace(work.operations.all[0], layer=""),)),
    )
    assert found_lines(work, EnergyTable())["memory", "transfer"].count == 4 * 2000
    small = found_lines(work, EnergyTable(buffer_bytes=2**20))
    assert small["memory", "transfer"].count == 4 * 2000 + 4e6


def test_a_buffer_s_price_grows_with_what_it_holds():
    # From 8 kB to 1 MB the capacity grows 128 times; at the root of that, 90.5 kB, the price is the geometric mean.
    energy_table = EnergyTable(buffer_j_per_byte=1e-12, weight_fetch_j_per_byte=9e-12)
    each = [analog_memory.buffer_j_per_byte(energy_table, s) for s in (10, 2**13, 2**13 * 128**0.5, 2**20, 2**30)]
    assert each == pytest.approx([1e-12, 1e-12, 3e-12, 9e-12, 9e-12])
    assert analog_memory.buffer_j_per_byte(energy_table.replace(buffer_bytes=0), 2**30) == 1e-12


def test_large_maps_pass_a_larger_buffer():
    # 64 x 64 x 8 in and out, a byte each: 65,536 B, three of seven doublings from 8 kB to 1 MB.
    layer, x = nn.Conv(8, (3, 3), use_bias=False), np.ones((2, 64, 64, 8), np.float32)
    hardware = preset(
        "pcm", **{"energy_table.buffer_j_per_byte": 1e-12, "energy_table.weight_fetch_j_per_byte": 128e-12}
    )
    result = compare(convert(layer, hardware), of_ones(layer, x), x, systems=(), batch=1)
    (large,) = [x for x in result.hardware.items if x.action == "large maps"]
    assert large.count == 2 * 64 * 64 * 8
    assert large.unit_energy_j == pytest.approx(8e-12)


def test_digital_memories_beyond_the_buffer_fetch_from_outside():
    layer, x = AnalogDense(3000, hardware=preset("int8"), use_bias=False), jnp.ones((1, 3000))
    result = compare(layer, of_ones(layer, x), x, systems=(), batch=1)
    assert line(result, "memory").count == pytest.approx(9e6 + 3000 + 4 * 3000)  # 9 MB of weights, 8 bits in, 32 out


def test_the_memory_s_price_has_a_gradient():
    def energy_j(price):
        energy_table = EnergyTable(memory_j_per_byte=price)
        plan = analog_memory.plan_of((), shapes((64, 10, 1, 64)).operations, energy_table)
        return sum(
            x.energy_j for x in analog_memory.memory_items(plan, shapes((64, 10, 1, 64)).operations, energy_table)
        )

    assert jax.grad(energy_j)(64e-12) == pytest.approx(4 * 74)


def test_a_photonic_mesh_has_a_memory_outside():
    # 8 bits: 64 numbers in, 10 out.
    breakdown = photonic.breakdown(photonic.Mesh(), shapes((64, 10, 1, 64)), 1)
    (memory,) = [x for x in breakdown.items if x.component == "memory"]
    assert memory.count == 74
    assert memory.unit_energy_j == pytest.approx(8 * DRAM["LPDDR4"].low_j_per_bit)
