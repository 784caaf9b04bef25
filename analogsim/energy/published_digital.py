"""Published digital machines, the brain, spiking chips and training runs, checked; see ``validation``."""

from typing import Any

from analogsim.energy.machines import brain, eyeriss, neuromorphic
from analogsim.energy.machines.digital_devices import devices
from analogsim.energy.machines.number_formats import mac_j
from analogsim.energy.machines.row_stationary import accesses
from analogsim.energy.published import check
from analogsim.energy.training_runs import training_runs
from analogsim.energy.validation import Check, point


def checks() -> list[Check]:
    """All of this file."""
    return [
        *eyeriss_checks(),
        *tpu_checks(),
        *arithmetic_checks(),
        *brain_checks(),
        *spiking_checks(),
        *training_checks(),
    ]


def eyeriss_checks() -> list[Check]:
    name = "Eyeriss v1"
    layers = [f"AlexNet CONV{i}" for i in range(1, 6)]
    power = [point(name, layer, "power") for layer in layers]
    seconds = [1e-3 * point(name, layer, "total_latency_batch4") for layer in layers]
    chip = "1 V, 200 MHz, batch 4 (AlexNet) / 3 (VGG-16)"
    mean = sum(p * s for p, s in zip(power, seconds, strict=True)) / sum(seconds)
    found = [
        check(
            (name, chip, "power_alexnet_conv"),
            mean,
            "identity",
            name="power, mean over its layers",
            known="recalled; columns sum to the published totals",
        ),
        check(
            (name, chip, "frame_rate_alexnet_conv"),
            4 / sum(seconds),
            "identity",
            name="frames a second from its layers",
            known="recalled; columns sum to the published totals",
        ),
    ]
    total_j = 0.0
    for layer, watts_m, s, (plane, groups, mapping) in zip(layers, power, seconds, eyeriss.ALEXNET, strict=True):
        moved = accesses(plane, mapping)
        found.append(
            check(
                (name, layer, "glb_traffic_batch4"),
                2e-6 * groups * moved.buffer,
                "uncalibrated",
                tolerance=1.1,
                name=f"buffer traffic, {layer}",
                rests_on=("analogsim.energy.machines.row_stationary:accesses.buffer",),
            )
        )
        energy_j = eyeriss.UNIT_J * groups * moved.chip
        total_j += energy_j
        found.append(
            check(
                (name, layer, "power"),
                1e3 * energy_j / s,
                "uncalibrated",
                tolerance=1.5,
                name=f"power, {layer} (e1 fits all five together)",
                rests_on=("analogsim.energy.machines.eyeriss:UNIT_J",),
                theirs=watts_m,
            )
        )
    dram = sum(groups * accesses(plane, k).dram for plane, groups, k in eyeriss.ALEXNET)
    key = (name, chip, "dram_words_per_mac_alexnet")
    found.append(
        check(
            key,
            dram / (4 * eyeriss.ALEXNET_CONV_MACS),
            "uncalibrated",
            tolerance=1.5,
            name="DRAM words a MAC (the chip compresses, we do not)",
            rests_on=("analogsim.energy.machines.row_stationary:accesses.dram",),
        )
    )
    frame_mj = point(name, chip, "power_alexnet_conv") / point(name, chip, "frame_rate_alexnet_conv")
    found.append(
        check(
            None,
            1e3 * total_j / 4,
            "calibrated",
            system=name,
            theirs=frame_mj,
            unit="mJ",
            fitted="itself: e1",
            name="energy of a frame, without DRAM",
            known="abstract",
            scope="sustained",
            source="10.1109/JSSC.2016.2616357",
        )
    )
    return found


def tpu_checks() -> list[Check]:
    device = devices()["TPU v1"]
    found = []
    for app, per_byte in (("MLP0", 200), ("MLP1", 168), ("LSTM0", 64), ("LSTM1", 96), ("CNN0", 2888), ("CNN1", 1750)):
        peak = device.peak_op_per_s["int8"]
        bound = min(peak, 2 * per_byte * device.byte_per_s) / 1e12
        key = ("TPU v1", f"{app}, {per_byte} MAC per weight byte", "throughput")
        rests_on = (
            "analogsim.energy.machines.digital_devices:TPU v1.byte_per_s",
            "analogsim.energy.machines.digital_devices:TPU v1.peak_op_per_s",
        )
        found.append(check(key, bound, "bound", name=f"roofline over throughput, {app}", rests_on=rests_on))
    return found


def arithmetic_checks() -> list[Check]:
    """Multiply plus add of the two published tables."""
    rows = (
        ("fp32", 45, 3.7 + 0.9),
        ("fp16", 45, 1.1 + 0.9),
        ("int8", 45, 0.2 + 0.1),
        ("fp32", 7, 1.31 + 0.38),
        ("fp16", 7, 0.34 + 0.38),
        ("bf16", 7, 0.21 + 0.38),
        ("int8", 7, 0.07 + 0.03),
    )
    source = {45: "10.1109/ISSCC.2014.6757323", 7: "10.1109/ISCA52012.2021.00010"}
    system = {45: "Horowitz, 45 nm", 7: "Jouppi, 7 nm"}
    return [
        check(
            None,
            1e12 * mac_j(name, node),
            "identity",
            theirs=theirs,
            system=system[node],
            unit="pJ",
            name=f"multiply-accumulate, {name}",
            known="recalled",
            scope="part",
            source=source[node],
        )
        for name, node, theirs in rows
    ]


def brain_checks() -> list[Check]:
    """What the ends of both bands stand for; they were made from these numbers, so none can contradict them."""
    low_j, _, high_j = brain.Brain().event_j
    common: dict[str, Any] = dict(system="brain", unit="fJ", known="power and synapses recalled")
    spikes = common | dict(source="10.1016/S0960-9822(03)00135-0", scope="all-in", fitted="itself: the band's ends")
    vesicle = common | dict(
        source="10.1097/00004647-200110000-00001", scope="marginal", fitted="itself: the band's ends"
    )
    return [
        check(None, 1e15 * high_j, "calibrated", theirs=1e15 * 20 / 2.4e13,
              name="an arriving spike: 20 W over 2.4e13 of them a second", **spikes),
        check(None, 1e15 * low_j, "calibrated", theirs=1e15 * 20 / 6e14,
              name="an arriving spike: 20 W over 6e14 of them a second", **spikes),
        check(None, 1e15 * brain.VESICLE_J[0], "calibrated", theirs=8.0, name="a released vesicle, low", **vesicle),
        check(None, 1e15 * brain.VESICLE_J[1], "calibrated", theirs=14.0, name="a released vesicle, high", **vesicle),
    ]  # fmt: skip


def spiking_checks() -> list[Check]:
    """Costs against the table they were copied from; then against figures that they were not read from."""
    figures: dict[tuple[str, str], list[neuromorphic.EventFigure]] = {}
    for figure in neuromorphic.published():
        figures.setdefault((figure.chip, figure.quantity), []).append(figure)
    loihi, truenorth = neuromorphic.CHIPS["Loihi"], neuromorphic.CHIPS["TrueNorth"]
    assert truenorth.static_w is not None
    assert loihi.idle_update_j is not None
    rows = [
        ("Loihi", "synaptic event", loihi.event_j),
        ("Loihi", "neuron update with input", loihi.update_j),
        ("Loihi", "neuron update without input", loihi.idle_update_j),
        *((name, "synaptic event", neuromorphic.CHIPS[name].event_j) for name in ("SpiNNaker", "SpiNNaker2")),
        *((name, "neuron update", neuromorphic.CHIPS[name].update_j) for name in ("SpiNNaker", "SpiNNaker2")),
    ]

    def row(chip: str, what: str, ours: float, kind: str, place: int = 0, name: str = "", **more: Any) -> Check:
        """A row against one figure of the table; ours in joules or watts."""
        found = figures[chip, what][place]
        return check(
            None, ours / {"pJ": 1e-12, "mW": 1e-3}[found.unit], kind, theirs=found.value, system="spiking chips",
            unit=found.unit, name=name or f"{chip}, {what}", source=found.source, scope=found.kind,
            known="recalled" if "recalled" in found.source else "read second-hand", **more,
        )  # fmt: skip

    events_per_s = neuromorphic.TRUENORTH_SYNAPSES * 20.07
    power_w = truenorth.static_w + truenorth.event_j * events_per_s
    return [
        *(row(chip, what, each_j, "identity") for chip, what, each_j in rows),
        row("Loihi", "synaptic event", loihi.event_j, "uncalibrated", 1, tolerance=2.0,
            name="Loihi, synaptic event of a simulator fitted to the chip, dense", rests_on=_chip("Loihi", "event_j")),
        row("Loihi", "synaptic event", loihi.event_j, "uncalibrated", 3, tolerance=2.0,
            name="Loihi, synaptic event of a simulator fitted to the chip, convolution",
            rests_on=_chip("Loihi", "event_j")),
        row("TrueNorth", "power at 20.07 Hz", power_w, "calibrated", fitted="power at 11.58 and 95.93 Hz",
            rests_on=_chip("TrueNorth", "static_w")),
        row("TrueNorth", "synaptic event", power_w / events_per_s, "calibrated", fitted="power at 11.58 and 95.93 Hz",
            name="TrueNorth, all-in event at 20 Hz and 128 synapses", rests_on=_chip("TrueNorth", "static_w")),
    ]  # fmt: skip


def _chip(name: str, *fields: str) -> tuple[str, ...]:
    return tuple(f"analogsim.energy.machines.neuromorphic:{name}.{field}" for field in fields)


def training_checks() -> list[Check]:
    return [
        check(
            None,
            run.mwh,
            "identity",
            theirs=run.reported_mwh,
            system="training runs",
            unit="MWh",
            name=run.name,
            known="recalled" if run.is_recalled else "read",
            scope="all-in",
            source=run.source,
        )
        for run in training_runs().values()
    ]
