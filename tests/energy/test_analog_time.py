"""How long analog hardware takes, worked by hand: what runs side by side, and what waits for the digital unit."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from analogsim import EnergyTable, Hardware, convert, preset
from analogsim.energy import compare
from analogsim.energy.machines.number_formats import add_j, mac_j, sram_j_per_byte
from analogsim.energy.work.primitives import COST
from tests.energy.energy_models import line, mlp, of_ones

READ_S, DISPATCH_S, DIGITAL, MEMORY = 250e-9, 5e-6, 256e9, 25.6e9


def on_pcm(model, *shape, batch=1, **changes):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    hardware = preset("pcm", **{"energy_table.memory_byte_per_s": 1e15} | changes)  # a memory that is always in time
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return compare(convert(model, hardware), variables, x, systems=(), batch=batch)


class Attention(nn.Module):
    """Products of activations between two layers: two tokens of four heads of 8 numbers."""

    tokens: int = 64

    @nn.compact
    def __call__(self, x):
        q, k, v = (nn.Dense(32, use_bias=False, name=name)(x).reshape(*x.shape[:2], 4, 8) for name in "qkv")
        scores = nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k))
        return nn.Dense(32, use_bias=False)(jnp.einsum("nhqk,nkhd->nqhd", scores, v).reshape(x.shape))


def test_attention_takes_the_digital_unit_s_time():
    # 64 tokens: queries, keys and values are read side by side, 64 vectors each, then the head: 2 * 64 reads. Between
    # them 2 * 64^2 * 32 multiply-accumulates and the softmax of 4 * 64^2 scores: largest,
    # difference, exp, sum and quotient.
    found = on_pcm(Attention(), 1, 64, 32).hardware
    macs, scores = 2 * 64**2 * 32, 4 * 64**2
    each = sum(COST["exp"]) + sum(COST["div"]) + 3
    expected = DISPATCH_S + 2 * 64 * READ_S + (macs + each * scores) / DIGITAL
    assert found.latency_s == pytest.approx(expected, rel=1e-3)  # and one operation a row of scores or two
    quick = on_pcm(Attention(), 1, 64, 32, **{"energy_table.digital_op_per_s": 1e15}).hardware
    assert quick.latency_s == pytest.approx(DISPATCH_S + 2 * 64 * READ_S, rel=1e-4)  # 1e15 operations a second
    assert quick.energy_typical_j < found.energy_typical_j  # buffers leak while the tiles wait
    assert found.power_w == pytest.approx(found.energy_typical_j / found.latency_s)


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_gates_are_read_side_by_side(cell):
    # Four gates of inputs and of the state, on tiles of their own: one read a step, however they are written.
    found = on_pcm(nn.RNN(cell(16)), 1, 20, 8, **{"energy_table.digital_op_per_s": 1e15}).hardware
    assert found.latency_s == pytest.approx(DISPATCH_S + 20 * READ_S, rel=1e-4)


def test_one_layer_used_twice_is_read_twice():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(6, use_bias=False)
            return layer(x) + layer(2 * x)  # side by side in the program, on one set of tiles

    found = on_pcm(Twice(), 1, 6, **{"energy_table.digital_op_per_s": 1e15}).hardware
    assert found.latency_s == pytest.approx(DISPATCH_S + 2 * READ_S)


def test_a_batch_is_dispatched_once():
    one, many = (on_pcm(nn.Dense(4), 1, 6, batch=b).hardware.latency_s for b in (1, 100))
    assert many - DISPATCH_S == pytest.approx(100 * (one - DISPATCH_S))
    bound = {b: on_pcm(nn.Dense(4), 1, 6, batch=b).hardware.bound for b in (1, 100)}
    assert bound == {1: "dispatch", 100: "reads"}


def test_a_slow_memory_keeps_tiles_waiting():
    # 64 numbers in and 10 out at 1 MB/s, beside reads of 250 ns; 138 results of the digital unit.
    model, variables, x = mlp(preset("pcm", **{"energy_table.memory_byte_per_s": 1e6}))
    found = compare(model, variables, x, systems=(), batch=1).hardware
    assert found.latency_s == pytest.approx(DISPATCH_S + 64e-6 + 10e-6 + 138 / DIGITAL)
    assert found.bound == "memory"


def test_buffers_leak_while_tiles_wait():
    # The larger maps that stay on the chip, 64 B into the second layer and 10 out, for the time of 138 results.
    result = compare(*mlp(preset("pcm", **{"energy_table.memory_byte_per_s": 1e15})), systems=(), batch=1)
    (waiting,) = [x for x in result.hardware.items if x.waits]
    assert waiting.count == pytest.approx(74 * 138 / DIGITAL, rel=1e-3)  # but for 74 fs of transfers
    assert 0 < result.hardware.idle_fraction < 1e-3


def test_a_chip_that_starts_by_itself_is_not_dispatched():
    assert on_pcm(nn.Dense(4, use_bias=False), 1, 6, **{"energy_table.dispatch_s": 0.0}).hardware.latency_s == READ_S


# --- the digital unit's energy ---------------------------------------------------------------------------------------


def test_the_digital_unit_is_of_one_process():
    # Between the published 45 and 7 nm at 28 nm, three digits.
    energy_table, node = EnergyTable(), 28
    assert energy_table.mac_j == pytest.approx(mac_j("fp32", node), rel=2e-3)
    assert energy_table.accumulate_j == pytest.approx(mac_j("fp16", node), rel=2e-3)
    assert energy_table.arithmetic_j == pytest.approx(add_j(node), rel=2e-3)
    assert energy_table.buffer_j_per_byte == pytest.approx(sram_j_per_byte(2**13, node), rel=2e-3)
    assert energy_table.weight_fetch_j_per_byte == pytest.approx(sram_j_per_byte(2**20, node), rel=2e-3)


def test_the_digital_memory_s_preset_is_of_7_nm():
    energy_table, node = preset("int8").energy_table, 7
    assert energy_table.mac_j == pytest.approx(mac_j("int8", node))
    assert energy_table.accumulate_j == pytest.approx(mac_j("fp16", node))
    assert energy_table.arithmetic_j == pytest.approx(add_j(node))
    assert energy_table.buffer_j_per_byte == pytest.approx(sram_j_per_byte(2**13, node), rel=3e-3)
    assert energy_table.weight_fetch_j_per_byte == pytest.approx(sram_j_per_byte(2**20, node))


def test_a_function_costs_what_its_program_does():
    model = nn.Sequential([nn.Dense(4, use_bias=False), jnp.exp])
    x = jnp.ones((1, 6))
    hardware = Hardware(name="own", energy_table=EnergyTable(arithmetic_j=1e-12, mac_j=10e-12))
    result = compare(convert(model, hardware), of_ones(model, x), x, systems="H100", batch=1)
    additions, multiplications = COST["exp"]
    (own,) = [entry for entry in result.hardware.items if entry.action == "other result"]
    assert own.count == 4
    assert own.unit_energy_j == pytest.approx(additions * 1e-12 + multiplications * 10e-12)
    (gpu,) = [entry for entry in result.breakdowns[1].items if entry.action == "other result"]
    assert gpu.unit_energy_j == pytest.approx((additions * 0.38e-12 + multiplications * 1.31e-12) * (4 / 7) ** 0.5)
    assert line(result, "memory").count == 4 * (6 + 4)
