"""The breakdown of qubits: gates and reads by their number, and the refrigerator as long as an inference lasts."""

import jax
import numpy as np
import pytest

from analogsim import EnergyTable, Hardware, InputError, energy, preset
from analogsim.devices import AmplitudeStore
from analogsim.linen import AnalogDense


def breakdown_of(hardware, x, variables=None):
    layer = AnalogDense(8, hardware=hardware)
    keys = {"params": jax.random.key(0), "analog": jax.random.key(1)}
    variables = jax.jit(layer.init)(keys, x) if variables is None else jax.eval_shape(layer.init, keys, x)
    return energy.compare(layer, variables, x, systems=(), batch=1).hardware


@pytest.mark.parametrize("shapes_alone", [False, True])
def test_a_register_is_charged_for_its_refrigerator(shapes_alone):
    # 16 x 8 on 2 tiles of 8 x 8: 16 registers of 4 qubits, each prepared 100,000 times by 14 gates of 200 ns.
    x = jax.ShapeDtypeStruct((1, 16), np.float32) if shapes_alone else np.ones((1, 16), np.float32)
    breakdown = breakdown_of(preset("quantum-register"), x, shapes_alone or None)
    seconds = 100_000 * (14 * 200e-9 + 1e-6)
    assert breakdown.latency_s == pytest.approx(seconds, rel=1e-4)  # 5 us of dispatch, and some ns of other arithmetic
    by_action = {(line.component, line.action): line.energy_j for line in breakdown.items}
    assert by_action["refrigerator", "power, waiting"] == pytest.approx(
        16 * 4 * 25 * (breakdown.latency_s - seconds), rel=1e-3
    )
    assert by_action["refrigerator", "power"] == pytest.approx(16 * 4 * 25 * seconds)
    assert by_action["qubits", "gate"] == pytest.approx(16 * 14 * 1e5 * 0.2e-9)
    assert by_action["qubits", "read"] == pytest.approx(16 * 4 * 1e5 * 10e-9)
    assert by_action["weight memory", "fetch"] == pytest.approx(16 * 15 * 2 * 1e5 * 7.57e-12)
    assert breakdown.energy_typical_j == pytest.approx(sum(by_action.values()))
    assert not any(line.component in ("ADC", "DAC", "word lines") for line in breakdown.items)


def test_a_refrigerator_of_one_s_own():
    hardware = preset(
        "quantum-register", **{"energy_table.refrigerator_qubits": 64, "energy_table.refrigerator_w": "10 kW"}
    )
    breakdown = breakdown_of(hardware, np.ones((1, 16), np.float32))
    (cold,) = [line for line in breakdown.items if line.component == "refrigerator" and not line.waits]
    assert cold.energy_j == pytest.approx(10e3 * 0.38)
    assert "set by this hardware: EnergyTable.refrigerator_w" in [source.note for source in cold.sources]


def test_a_read_time_that_would_be_ignored_is_refused():
    with pytest.raises(InputError, match=r"EnergyTable\.read_time_s = 1e-06: has no effect"):
        Hardware(store=AmplitudeStore(), energy_table=EnergyTable(read_time_s=1e-6))
