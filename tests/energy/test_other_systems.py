"""Light, spikes, and what a deployment adds, worked by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError, preset
from analogsim.energy import Deployment, compare
from analogsim.energy.machines import neuromorphic, photonic
from analogsim.linen import AnalogDense
from tests.energy.energy_models import mlp, shapes


def test_photons_of_a_sample():
    # h c / 1.55 um = 0.1282 aJ; 1.5 x 4^8 photons at quantum efficiency 1 are 98,304 and 12.6 fJ.
    assert photonic.photon_j() == pytest.approx(6.62607015e-34 * 299792458 / 1.55e-6)
    assert [photonic.photons(b) for b in (4, 6, 8)] == [384, 6144, 98304]
    assert photonic.photons(8) * photonic.photon_j() == pytest.approx(12.6e-15, rel=0.005)


def test_laser_power():
    # Shot noise asks for 98,304 / 0.8 photons at 1 GHz, 15.75 uW, at each of 64 detectors; 15 dB of loss (31.62) and an
    # efficiency of 0.15: 64 x 15.75 uW x 31.62 / 0.15 = 212.5 mW. Of 6 bits the receivers' floor of 10 uW is more.
    assert photonic.laser_w(64, 8, 1e9, 15) == pytest.approx(0.2125, rel=0.005)
    assert photonic.laser_w(64, 6, 1e9, 15) == pytest.approx(64 * 10e-6 * 10**1.5 / 0.15)
    with pytest.raises(InputError, match=r"loss_db = -1: must be at least 0 .unit: dB."):
        photonic.laser_w(1, 8, 1e9, -1)
    with pytest.raises(InputError, match="wall_plug = 0: must be greater than 0"):
        photonic.laser_w(1, 8, 1e9, 10, wall_plug=0)
    assert photonic.modulator_j(1e-15, 2.0) == pytest.approx(1e-15)


def test_holding_the_phases_of_a_mesh():
    # 100 x 70 weights on 64 x 64: 2 x 2 meshes of 8,192 heaters; 5 vectors at 1 GHz are 5 ns. 2 mW, at most 10 mW.
    breakdown = photonic.breakdown(photonic.Mesh(), shapes((100, 70, 5, 500)), 1)
    phases = next(line for line in breakdown.items if line.component == "phases")
    assert phases.energy_j == pytest.approx(4 * 8192 * 5e-9 * 2e-3)
    assert (phases.energy_low_j, phases.energy_high_j) == pytest.approx((0.0, 4 * 8192 * 5e-9 * 10e-3))
    counts = {line.component: line.count for line in breakdown.items}
    assert counts["DAC"] == 5 * 100 * 2
    assert counts["ADC"] == 5 * 70 * 2
    # After a dispatch of 5 us, and while 5 * 170 B pass at 25.6 GB/s, longer than the light takes.
    passing_s = 5 * 170 / 25.6e9
    assert breakdown.latency_s == pytest.approx(5e-6 + passing_s)
    (waiting,) = [line for line in breakdown.items if line.waits]
    assert waiting.energy_j == pytest.approx(4 * 8192 * 2e-3 * (5e-6 + passing_s - 5e-9))
    # Full, at 1 GHz and 10 mW: about 20 pJ a multiply-accumulate, ten times less at 10 GHz.
    full = shapes((64, 64, 1000, 64000))
    each = [
        next(
            x.energy_high_j
            for x in photonic.breakdown(photonic.Mesh(rate_hz=f), full, 1).items
            if x.component == "phases"
        )
        / full.macs
        for f in (1e9, 10e9)
    ]
    assert each == pytest.approx([20e-12, 2e-12])


# --- spiking chips ---------------------------------------------------------------------------------------------------

# 64 x 10 weights, 3 vectors: 1,920 synapses, 30 neurons of 64 inputs each, 192 inputs that spike. The code: 1 spike in
# 1 step (low), sqrt(1 x 8) in sqrt(1 x 16) steps (typical), 8 in 16 (high).
SMALL, CODE = (64, 10, 3, 192), ((1, 1), (8**0.5, 4), (8, 16))


def of(breakdown, component):
    (line,) = [line for line in breakdown.items if line.component == component]
    return line.energy_low_j, line.energy_j, line.energy_high_j


def test_loihi_pays_for_events_neurons_messages_and_static_power():
    # Davies et al. 2018, table 2: 23.6 pJ an event (its 3.5 are nanoseconds), 81 and 52 pJ a neuron with and without
    # input, 1.7 pJ a tile, 3 and 4 pJ a hop on 8 x 4 tiles: two places at random are (64 - 1)/24 and (16 - 1)/12 hops
    # apart, the farthest 7 and 3. 104 mW for steps of 1 ms, from its share of 131,072 neurons to a whole chip.
    breakdown = neuromorphic.breakdown(neuromorphic.CHIPS["Loihi"], shapes(SMALL), 1)
    assert of(breakdown, "synapses") == pytest.approx([1920 * 23.6e-12 * spikes for spikes, _ in CODE])
    active = [1 - (1 - spikes / steps) ** 64 for spikes, steps in CODE]
    neurons = [30 * steps * (52e-12 + a * 29e-12) for (_, steps), a in zip(CODE, active, strict=True)]
    assert of(breakdown, "neurons") == pytest.approx(neurons)
    ways = (1.7e-12, (1.7 + 3 * 63 / 24 + 4 * 15 / 12) * 1e-12, (1.7 + 3 * 7 + 4 * 3) * 1e-12)
    assert of(breakdown, "messages") == pytest.approx([192 * s * way for (s, _), way in zip(CODE, ways, strict=True)])
    share = 30 / 131_072
    assert of(breakdown, "chip") == pytest.approx([104e-6 * share, 104e-6 * 4 * share**0.5, 104e-6 * 16])


def test_a_neuron_with_few_inputs_idles():
    # One input that spikes in half of 16 steps leaves its neuron idle in the other half.
    breakdown = neuromorphic.breakdown(neuromorphic.CHIPS["Loihi"], shapes((1, 10, 1, 1)), 1)
    assert of(breakdown, "neurons")[2] == pytest.approx(10 * (8 * 81e-12 + 8 * 52e-12))


def test_true_north_s_events_are_marginal_beside_its_static_power():
    # 2^20 neurons of 128 synapses: 68 mW at 11.58 Hz, 94 mW at 95.93 Hz. 26 mW over 84.35 Hz are 2.297 pJ an event.
    chip = neuromorphic.CHIPS["TrueNorth"]
    assert chip.event_j == pytest.approx(26e-3 / (84.35 * 2**20 * 128))
    assert chip.event_j == pytest.approx(2.297e-12, rel=1e-3)
    assert chip.static_w == pytest.approx(64.4e-3, rel=1e-3)
    # The third measured point, 71 mW at 20.07 Hz, and the all-in 26 pJ that is quoted for it.
    power_w = chip.static_w + 2**20 * 128 * 20.07 * chip.event_j
    assert power_w == pytest.approx(71e-3, rel=0.01)
    assert power_w / (2**20 * 128 * 20.07) == pytest.approx(26e-12, rel=0.02)
    breakdown = neuromorphic.breakdown(chip, shapes(SMALL), 1)
    assert {line.component for line in breakdown.items} == {"synapses", "chip"}  # the sweep holds messages and updates
    assert of(breakdown, "chip") == pytest.approx(
        [64.43e-6 * k for k in (30 / 2**20, 4 * (30 / 2**20) ** 0.5, 16)], rel=1e-3
    )
    # More than one chip: three million neurons fill 2.9 chips, so three are on.
    many = of(neuromorphic.breakdown(chip, shapes((1, 3_000_000, 1, 1)), 1), "chip")
    assert (many[0], many[2]) == pytest.approx((64.43e-6 * 3e6 / 2**20, 16 * 3 * 64.43e-6), rel=1e-3)


@pytest.mark.parametrize(("name", "event_j", "update_j"), [("SpiNNaker", 13.3e-9, 26e-9),
                                                           ("SpiNNaker2", 0.45e-9, 2.19e-9)])  # fmt: skip
def test_spinnaker(name, event_j, update_j):
    breakdown = neuromorphic.breakdown(neuromorphic.CHIPS[name], shapes(SMALL), 1)
    found = breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j
    assert found == pytest.approx([1920 * s * event_j + 30 * steps * update_j for s, steps in CODE])
    assert "static power" in breakdown.excludes  # not known, so not counted, and said


def test_an_all_in_figure_takes_nothing_on_top():
    whole = dict(name="x", kind="all-in", event_j=26e-12, sources=())
    breakdown = neuromorphic.breakdown(neuromorphic.SpikingChip(**whole), shapes(SMALL), 1)
    assert breakdown.energy_high_j == pytest.approx(8 * 1920 * 26e-12)
    assert "all-in" in breakdown.note
    for more in (dict(update_j=81e-12), dict(static_w=0.064, neurons=2**20, step_s=1e-3), dict(tile_j=1e-12),
                 dict(hop_j=(3e-12, 4e-12))):  # fmt: skip
        with pytest.raises(InputError, match="is part of event_j, which is all-in, already"):
            neuromorphic.SpikingChip(**whole, **more)


def test_every_published_event_says_what_it_counts():
    kinds = {f.kind for f in neuromorphic.published()}
    assert kinds == {"marginal", "all-in", "static", "not stated"}
    assert all(f.source and f.value > 0 for f in neuromorphic.published())
    time = next(f for f in neuromorphic.published() if f.value == 3.5)
    assert (time.chip, time.unit) == ("Loihi", "ns")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare(*mlp(), systems="Loihi 2"), "'Loihi 2' has no energy model: no energy per event is published"),
        (lambda: neuromorphic.SpikingChip(name="x", kind="peak", event_j=1e-12, sources=()), "must be one of marginal"),
        (lambda: neuromorphic.SpikingChip(name="x", kind="marginal", event_j=-1.0, sources=()),
         r"SpikingChip.event_j = -1.0: must be at least 0 \(unit: J\)"),
        (lambda: neuromorphic.SpikingChip(name="x", kind="marginal", event_j=1e-12, static_w=0.1, sources=()),
         "needs neurons and step_s"),
    ],
)  # fmt: skip
def test_what_a_spiking_chip_cannot_be(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_deployment_shares_writing_and_calibration():
    model, variables, x = mlp()
    plain = compare(model, variables, x, systems=(), batch=1)
    life = Deployment(inferences=1e6, lifetime_s="2 years", recalibrate_every_s="1 week", rewrite_every_s="1 year")
    assert (life.calibrations, life.writes) == (1 + 104, 1 + 2)
    found = compare(model, variables, x, systems=(), batch=1, deployment=life)
    lines = {line.component: line.energy_j for line in found.hardware.items}
    assert lines["writing"] == pytest.approx(3 * plain.arrays.write_energy_j / 1e6)
    assert lines["drift calibration"] == pytest.approx(105 * plain.arrays.calibration_energy_j / 1e6)
    more = found.hardware.energy_typical_j - plain.hardware.energy_typical_j
    assert more == pytest.approx(lines["writing"] + lines["drift calibration"])
    measured = dataclasses.replace(life, write_j=1e-6)
    lines = compare(model, variables, x, systems=(), batch=1, deployment=measured).hardware.items
    assert next(line.energy_j for line in lines if line.component == "writing") == pytest.approx(3 * 1e-6 / 1e6)
    assert "both reported separately" in plain.excludes
    assert "both reported separately" not in found.excludes


def test_a_deployment_needs_to_know_what_writing_takes():
    model, variables, x = mlp(preset("pcm", **{"energy_table.cell_write_j": None}))
    with pytest.raises(InputError, match=r"EnergyTable.cell_write_j = None: a deployment needs"):
        compare(model, variables, x, batch=1, deployment=Deployment(inferences=1e6))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(inferences=1, write_j=-1.0), r"Deployment.write_j = -1.0: must be at least 0 \(unit: J\)"),
        (dict(inferences=0), "Deployment.inferences = 0: must be at least 1"),
        (dict(inferences=1, lifetime_s=-1), r"Deployment.lifetime_s = -1: must be greater than 0 \(unit: s\)"),
        (dict(inferences=1, recalibrate_every_s="5 V"), "Deployment.recalibrate_every_s"),
    ],
)
def test_bad_deployments(values, message):
    with pytest.raises(InputError, match=message):
        Deployment(**values)


def test_every_adc_model_has_its_price():
    # 8 bits at 28 nm, 100 MS/s: 0.277 pJ floor, 4.29 pJ median, 1.33 pJ regression, 2.06 pJ embedded.
    def adc_j(model, **energy_table):
        hardware = preset(
            "pcm", **{"energy_table.adc_model": model} | {f"energy_table.{k}": v for k, v in energy_table.items()}
        )
        layer, x = AnalogDense(4, hardware=hardware), jnp.ones((1, 6))
        lines = compare(layer, layer.init(jax.random.key(0), x), x, systems=(), batch=1).hardware.items
        return next(line.unit_energy_j for line in lines if line.component == "ADC")

    found = [adc_j(model) for model in ("floor", "median", "regression", "embedded")]
    assert found == pytest.approx([0.277e-12, 4.29e-12, 1.33e-12, 2.06e-12], rel=0.005)
    assert adc_j("floor", adc_enob=6.0) == pytest.approx(0.2676e-12, rel=1e-3)  # nominal and effective bits apart
    with pytest.raises(InputError, match="node_nm = 14"):
        adc_j("regression", node_nm=14.0)


def test_lines_that_share_an_adc_wait_and_take_less_room():
    def of(n):
        hardware = preset("pcm", **{"energy_table.columns_per_adc": n})
        layer, x = AnalogDense(64, hardware=hardware), jnp.ones((1, 16))
        return compare(layer, layer.init(jax.random.key(0), x), x, systems=(), batch=1)

    alone, shared = of(1), of(8)
    assert shared.hardware.latency_s - alone.hardware.latency_s == pytest.approx(8 / 100e6)
    parts = {c: {p.name: p.count for p in each.arrays.parts} for c, each in (("alone", alone), ("shared", shared))}
    assert (parts["alone"]["ADCs"], parts["shared"]["ADCs"]) == (64, 8)
    assert shared.arrays.area_m2 < alone.arrays.area_m2
    assert parts["alone"]["cells"] == 2 * 16 * 64
    assert parts["alone"]["drivers"] == 16


def test_films_are_written_at_the_energy_of_their_own_pulse():
    # 16 x 8 weights in pairs of films: 256 pulses of 13.4 pJ, or of 20 pJ.
    for changes, unit_energy_j in (({}, 13.4e-12), ({"store.film.write_j": "20 pJ"}, 20e-12)):
        layer, x = AnalogDense(8, hardware=preset("photonic-pcm", **changes)), jnp.ones((1, 16))
        found = compare(layer, layer.init(jax.random.key(0), x), x, systems=(), batch=1).arrays
        assert found.write_energy_j == pytest.approx(256 * unit_energy_j, rel=1e-6)
    with pytest.raises(InputError, match=r"EnergyTable.cell_write_j = 1e-12: must be None for PhotonicTensorCore"):
        preset("photonic-pcm", **{"energy_table.cell_write_j": 1e-12})


@pytest.mark.parametrize(("rate_hz", "read_s"), [(100e6, 250e-9), (1e9, 250e-9), (2e6, 500e-9), (1e4, 1e-4)])
def test_a_converter_that_is_slower_than_the_read_sets_its_time(rate_hz, read_s):
    # One ADC a line: it converts while the 250 ns of the read last, or longer.
    hardware = preset("pcm", **{"energy_table.sample_rate_hz": rate_hz})
    layer, x = AnalogDense(8, hardware=hardware), jnp.ones((1, 16))
    breakdown = compare(layer, layer.init(jax.random.key(0), x), x, systems=(), batch=1).hardware
    usual = compare(AnalogDense(8, hardware=preset("pcm")), layer.init(jax.random.key(0), x), x, systems=(), batch=1)
    assert breakdown.latency_s - usual.hardware.latency_s == pytest.approx(read_s - 250e-9, abs=1e-15)


def test_more_rows_voltage_and_bits_cost_more():
    def energy(**changes):
        hardware = preset("pcm", **changes)
        layer, x = AnalogDense(32, hardware=hardware), jax.random.normal(jax.random.key(1), (2, 600))
        return compare(layer, layer.init(jax.random.key(0), x), x, systems=(), batch=1).hardware.energy_typical_j

    for field, values in (("energy_table.read_voltage_v", (0.1, 0.2, 0.5)), ("adc.bits", (4, 6, 8, 10)),
                          ("rows", (512, 256, 64))):  # fmt: skip
        found = [energy(**{field: value}) for value in values]
        assert np.all(np.diff(found) > 0), field


def test_order_of_layers_does_not_matter():
    work = shapes((64, 10, 1, 64), (64, 10, 3, 192), (10, 64, 1, 10), (64, 10, 1, 64))
    first, *inner, last = work.operations.all  # what enters and leaves the model is that of its ends
    turned = dataclasses.replace(work, operations=dataclasses.replace(work.operations, all=(first, *inner[::-1], last)))
    for breakdown in (photonic.breakdown, neuromorphic.breakdown):
        system = photonic.Mesh() if breakdown is photonic.breakdown else neuromorphic.CHIPS["Loihi"]
        one, other = breakdown(system, work, 1), breakdown(system, turned, 1)
        assert one.energy_typical_j == pytest.approx(other.energy_typical_j, rel=1e-12)
