"""Energy of photonic stores: lasers, modulators and receivers per product, and the power held during an inference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from analogsim import ADC, DAC, EnergyTable, Hardware, InputError, energy, preset
from analogsim.devices import FadingLight, MZIMesh, PhotonicTensorCore, RingBank
from analogsim.linen import AnalogDense


def inputs(*shape):
    return np.random.default_rng(2).uniform(size=shape).astype(np.float32)


class Two(nn.Module):
    hardware: Hardware

    @nn.compact
    def __call__(self, x):
        return AnalogDense(4, hardware=self.hardware)(nn.relu(AnalogDense(12, hardware=self.hardware)(x)))


def breakdown_of(hardware, x):
    model = Two(hardware)
    variables = jax.jit(model.init)({"params": jax.random.key(0), "analog": jax.random.key(1)}, x)
    found = energy.compare(model, variables, x, systems=(), batch=1)
    return found, variables["params"]


def lines_of(found, component):
    return [line for line in found.hardware.items if line.component == component and not line.waits]


def test_a_mesh_is_charged_for_light_and_for_its_heaters_as_long_as_all_layers_take():
    hardware = preset("mzi-mesh", rows=8, columns=8)
    x = inputs(3, 16)
    found, params = breakdown_of(hardware, x)
    # 16 x 12 on 2 x 2 tiles of 8 x 6, and 12 x 4 on 2 tiles of 6 x 4: 6 products a vector.
    laser = sum(line.energy_j for line in lines_of(found, "laser"))
    assert laser == pytest.approx(6 * 10e-3 / 5e9 / 0.2)
    symbols = sum(line.count for line in lines_of(found, "modulator"))
    assert symbols == 4 * 8 + 2 * 6
    samples = sum(line.count for line in lines_of(found, "receiver"))
    assert samples == 4 * 6 + 2 * 4
    assert not lines_of(found, "word lines")
    # Both layers are held while both are read, 1 / 5 GHz each.
    held = sum(line.energy_j for line in lines_of(found, "hold"))
    watts = 0.0
    for name, (r, c) in (("Dense_0", (2, 2)), ("Dense_1", (2, 1))):
        kernel = np.asarray(params[name]["kernel"])
        for rows in np.split(kernel, r):
            for tile in np.split(rows, c, axis=1):
                scaled = tile / np.abs(tile).max(0)
                watts += float({a.name: a for a in hardware.store.cost(scaled, 1.0)}["hold"].quantity)
    # Singular vectors have no sign of their own: rounding decides it, and with it some phases between 0 and pi.
    assert held == pytest.approx(watts * 2 / 5e9, rel=0.1)
    # A dispatch; 16 numbers of a byte take longer from the memory than a read, 4 to it do not; 16 biases and 12
    # rectifiers wait for the digital unit. The heaters are held all the while.
    slow = 16 / 25.6e9 - 1 / 5e9 + 28 / 256e9
    assert found.hardware.latency_s == pytest.approx(5e-6 + 2 / 5e9 + slow)
    waiting = sum(line.energy_j for line in found.hardware.items if line.component == "hold" and line.waits)
    assert waiting == pytest.approx(held / (2 / 5e9) * (5e-6 + slow), rel=1e-6)


def test_breakdowns_add_up_and_a_film_is_held_for_nothing():
    x = inputs(3, 16)
    for name in ("ring-bank", "photonic-pcm", "fading-light"):
        found, _ = breakdown_of(preset(name), x)
        total = sum(line.energy_j for line in found.hardware.items)
        assert found.hardware.energy_typical_j == pytest.approx(total)
        held = sum(line.energy_j for line in lines_of(found, "hold"))
        assert (held == 0) == (name == "photonic-pcm")


def test_shapes_alone_are_enough():
    hardware = preset("ring-bank")
    x = jax.ShapeDtypeStruct((1, 16), jnp.float32)
    model = Two(hardware)
    keys = {"params": jax.random.key(0), "analog": jax.random.key(1)}
    variables = jax.eval_shape(model.init, keys, x)
    found = energy.compare(model, variables, x, systems=(), batch=1)
    # 16 x 12 on one tile and 12 x 4 on one: a laser of 0.1 W for two symbols of 0.2 ns each.
    assert sum(line.energy_j for line in lines_of(found, "laser")) == pytest.approx(2 * 0.1 * 2 / 5e9 / 0.2)
    rings = 16 * 12 + 12 * 4
    held = sum(line.energy_j for line in lines_of(found, "hold"))
    assert held == pytest.approx(rings * 0.388e-3 * 2 * 2 / 5e9)


def test_more_inputs_than_channels_are_refused():
    hardware = preset("ring-bank", rows=64)
    with pytest.raises(InputError, match="channels"):
        breakdown_of(hardware, inputs(1, 64))


@pytest.mark.parametrize("store", [MZIMesh(), RingBank(), PhotonicTensorCore(), FadingLight()])
def test_a_read_time_that_would_be_ignored_is_refused(store):
    with pytest.raises(InputError, match=r"EnergyTable\.read_time_s = 1e-06: has no effect"):
        Hardware(store=store, dac=DAC(bits=8), adc=ADC(bits=8), energy_table=EnergyTable(read_time_s=1e-6))


def test_energy_has_a_gradient_in_the_power_of_light():
    x = inputs(3, 16)
    hardware = preset("mzi-mesh", rows=8, columns=8)
    model = Two(hardware)
    keys = {"params": jax.random.key(0), "analog": jax.random.key(1)}
    variables = jax.jit(model.init)(keys, x)

    def joules(watts):
        changed = Two(hardware.replace(**{"store.laser_w": watts}))
        return energy.inference_j(changed, variables, x, components=("laser",))

    assert float(jax.jit(jax.grad(joules))(10e-3)) == pytest.approx(6 / 5e9 / 0.2, rel=1e-4)
