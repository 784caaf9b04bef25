"""Spiking chips: energy of the same network in spikes, synaptic events, neuron updates and static power.

    E = events e_event + updates e_update + spikes e_route + P_static t_step steps chips

One multiply-accumulate is one synaptic event per spike of its input, and every output is a neuron that is updated in
every step. The account chooses the code: from one spike per input in a single step (low) to a rate code of 16 steps
with a spike in half of them (high); typical is the geometric mean of these ends, 4 steps with 2.8 spikes. A network
trained with spikes may need far fewer events; this is the energy of the same network.

A published figure per event is of one of two kinds, which a breakdown never mixes:

    marginal   energy of one additional event; neurons, messages and static power are counted separately
    all-in     power of the whole chip divided by its events at a stated rate: includes all of these

TrueNorth's 26 pJ is all-in at 20 Hz and 128 synapses per neuron. Its measured power, 68 mW at 11.58 Hz and 94 mW at
95.93 Hz, is a straight line of 2.30 pJ per event above 64.4 mW. The breakdown uses this line; the all-in figure would
give 335 mW at 95.93 Hz (P. Merolla et al., Science 345, 668 (2014); F. Akopyan et al., IEEE TCAD 34, 1537 (2015)).
Loihi's figures are from a simulation before silicon (M. Davies et al., IEEE Micro 38, 82 (2018), table 2): at least
23.6 pJ per synaptic event, 81 pJ per neuron with input and 52 pJ per neuron without, 1.7 pJ per spike within its tile
and 3 or 4 pJ per hop. KerasSpiking adds the 3.5 of the same table to 23.6, but that is the time of an event in
nanoseconds. ``published`` lists these and other figures with their kind. Chips that publish only ratios of whole runs
have no energy per event (``NO_EVENT_ENERGY``).
"""

import csv
import dataclasses
import functools
import importlib.resources
import math

from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.energy import omissions
from analogsim.energy.breakdown import EnergyBreakdown, EnergyItem, merge_items
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.operations import Operation

Triple = tuple[float, float, float]

STEPS: Triple = (1.0, 4.0, 16.0)  #: steps of the code: low, typical (geometric mean), high
SPIKES: Triple = (1.0, math.sqrt(8.0), 8.0)  #: spikes per input in these steps

KINDS = ("marginal", "all-in")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpikingChip:
    """The energies per event of a spiking chip.

    Attributes:
      name: name of the chip.
      kind: kind of ``event_j``, ``"marginal"`` or ``"all-in"``.
      event_j: joules per spike that arrives at a synapse.
      update_j: joules per neuron and step with input.
      idle_update_j: joules per neuron and step without input; None: the same.
      tile_j: joules per spike within its tile.
      hop_j: joules per spike and hop to the next tile: east or west, north or south.
      mesh: number of tiles east to west and north to south.
      static_w: static power of one chip in W; None if not known.
      neurons: neurons per chip; required with ``static_w``.
      step_s: seconds per step; required with ``static_w``.
      leaves_out: costs that are not known and therefore not counted.
      sources: sources of these figures.

    Raises:
      InputError: for an unknown kind, a negative number, static power without ``neurons`` and ``step_s``, or another
        energy next to an all-in ``event_j``, which includes it.

    Example:
      >>> SpikingChip(name="mine", kind="marginal", event_j=5e-12, leaves_out="static power", sources=()).kind
      'marginal'
    """

    name: str
    kind: str
    event_j: float
    update_j: float = 0.0
    idle_update_j: float | None = None
    tile_j: float = 0.0
    hop_j: tuple[float, float] = (0.0, 0.0)
    mesh: tuple[int, int] = (1, 1)
    static_w: float | None = None
    neurons: int | None = None
    step_s: float | None = None
    leaves_out: str = ""
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"SpikingChip.kind = {self.kind!r}: must be one of {', '.join(KINDS)}")
        for name in ("event_j", "update_j", "idle_update_j", "tile_j", "static_w", "neurons", "step_s"):
            value = getattr(self, name)
            unit = {"_j": "J", "_w": "W", "_s": "s"}.get(name[-2:])
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"SpikingChip.{name} = {value!r}: must be at least 0{f' (unit: {unit})' * bool(unit)}")
        for name in ("update_j", "idle_update_j", "tile_j", "hop_j", "static_w"):
            value = getattr(self, name)
            if self.kind == "all-in" and value not in (None, 0.0, (0.0, 0.0)):
                raise InputError(f"SpikingChip.{name} = {value!r}: is part of event_j, which is all-in, already")
        if self.static_w is not None and not (self.neurons and self.step_s):
            raise InputError(f"SpikingChip.static_w = {self.static_w!r}: needs neurons and step_s, both above 0")

    @property
    def route_j(self) -> Triple:
        """Joules per spike to its target: within the tile, to a random tile, across the whole mesh."""
        mean_hops = [(n * n - 1) / (3 * n) for n in self.mesh]  # mean distance of two random positions out of n
        typical_j, high_j = (
            self.tile_j + sum(hop_j * n for hop_j, n in zip(self.hop_j, hops, strict=True))
            for hops in (mean_hops, [n - 1 for n in self.mesh])
        )
        return self.tile_j, typical_j, high_j


#: Synapses (neurons times synapses per neuron) of the measured sweep, and its ends (hertz, watts).
TRUENORTH_SYNAPSES = 2**20 * 128
TRUENORTH_SWEEP = ((11.58, 68e-3), (95.93, 94e-3))


def _line_through(sweep: tuple[tuple[float, float], tuple[float, float]]) -> tuple[float, float]:
    """Return joules per event and watts without events, from the power at two rates."""
    (low_hz, low_w), (high_hz, high_w) = sweep
    event_j = (high_w - low_w) / (TRUENORTH_SYNAPSES * (high_hz - low_hz))
    return event_j, low_w - TRUENORTH_SYNAPSES * low_hz * event_j


#: Spiking chips with published energies per event, by name.
CHIPS = {
    "Loihi": SpikingChip(
        name="Loihi", kind="marginal", event_j=23.6e-12, update_j=81e-12, idle_update_j=52e-12, tile_j=1.7e-12,
        hop_j=(3e-12, 4e-12), mesh=(8, 4), static_w=0.104, neurons=128 * 1024, step_s=1e-3,
        sources=(
            cited("davies2018", note="table 2, simulated before silicon: 23.6 pJ per event (at least), 81 and 52 pJ "
                  "per neuron with and without input, 1.7 pJ per tile, 3 and 4 pJ per hop"),
            cited("frady2020", note="derived: static power 104 mW per chip", recalled=True),
            Source(note="assumption: steps of 1 ms, real time"),
        ),
    ),
    "TrueNorth": SpikingChip(
        name="TrueNorth", kind="marginal", event_j=_line_through(TRUENORTH_SWEEP)[0],
        static_w=_line_through(TRUENORTH_SWEEP)[1], neurons=2**20, step_s=1e-3,
        sources=(
            cited("merolla2014", "akopyan2015", note="line through the measured power at 11.58 and 95.93 Hz, 0.8 V: "
                  "2.30 pJ per event, messages included, and 64.4 mW, neuron updates included"),
        ),
    ),
    "SpiNNaker": SpikingChip(
        name="SpiNNaker", kind="marginal", event_j=13.3e-9, update_j=26e-9, leaves_out="static power",
        sources=(cited("hoppner2019", note="as tabulated by KerasSpiking"),),
    ),
    "SpiNNaker2": SpikingChip(
        name="SpiNNaker2", kind="marginal", event_j=0.45e-9, update_j=2.19e-9, leaves_out="static power",
        sources=(cited("hoppner2019", note="prototype, as tabulated by KerasSpiking"),),
    ),
}  # fmt: skip

#: Chips without a published energy per event, and the reason.
NO_EVENT_ENERGY = {
    "Loihi 2": "no energy per event is published, only ratios of whole runs",
    "BrainScaleS-2": "only energies of whole inferences are published (2.4 uJ on its network), none per event",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventFigure:
    """One published figure of a spiking chip.

    Attributes:
      chip, quantity: the chip and the measured quantity.
      value, unit: as published.
      kind: ``"marginal"``, ``"all-in"``, ``"static"``, or ``"not stated"``, which no breakdown may use.
      condition: conditions of the measurement.
      source: the publication.
    """

    chip: str
    quantity: str
    value: float
    unit: str
    kind: str
    condition: str
    source: str


@functools.cache
def published() -> tuple[EventFigure, ...]:
    """Return the published figures of spiking chips, each with its kind.

    Example:
      >>> [f.kind for f in published() if f.chip == "TrueNorth" and f.quantity == "synaptic event"]
      ['all-in', 'marginal']
    """
    table = importlib.resources.files("analogsim.energy") / "data" / "spiking_event_costs.csv"
    with table.open(encoding="utf-8") as file:
        return tuple(
            EventFigure(**(row | {"value": float(row["value"])}))  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        )


_STATIC = "static power, waiting for steps"  # of 1 ms, in which microseconds of events happen


def breakdown(chip: SpikingChip, work: Workload, batch: int) -> EnergyBreakdown:
    """Return the energy breakdown of one inference on a spiking chip, low (single spikes) to high (rate code)."""
    n, products = work.operations.examples, _products_with_weights(work)
    synapses = sum(op.total_macs for op in products) / n
    neurons = sum(op.repeats * op.output_words for op in products) / n
    spikes = sum(op.repeats * op.input_words for op in products) / n
    events = _times(SPIKES, (chip.event_j,) * 3)
    rows: list[tuple[str, str, float, str, Triple]] = [("synapses", "event", synapses, "", events)]
    if chip.update_j:
        rows.append(("neurons", "update", neurons, "", _updates(chip, work)))
    if chip.tile_j or any(chip.hop_j):
        rows.append(("messages", "spike", spikes, "", _times(SPIKES, chip.route_j)))
    if chip.static_w is not None and chip.neurons and chip.step_s:
        fraction = neurons / chip.neurons
        chips = (fraction, math.sqrt(fraction * math.ceil(fraction)), float(math.ceil(fraction)))
        rows.append(("chip", _STATIC, chip.step_s, "s", _times(STEPS, _times(chips, (chip.static_w,) * 3))))
    items = [
        EnergyItem.of_range(component, action, count, unit, joules, chip.sources, waits=action == _STATIC)
        for component, action, count, unit, joules in rows
    ]
    has_static = chip.static_w is not None
    low, high = (", static power by the fraction of the chip in use", ", of whole chips") if has_static else ("", "")
    return EnergyBreakdown(
        system=chip.name,
        batch=batch,
        items=merge_items(items),
        latency_s=None,
        note=f"{chip.kind} costs; low: each input spikes once, one step{low}; high: rate code, {SPIKES[2]:g} spikes in "
        f"{STEPS[2]:g} steps{high}; typical: geometric mean",
        excludes="; ".join(filter(None, (chip.leaves_out, _OTHERS))),
        omits=(
            *omissions.activation_products(work.operations),
            *omissions.lookups(work.operations),
            *omissions.other_results(work.operations),
        ),
        per=f"{SPIKES[1]:.2g} synaptic events",
    )


_OTHERS = "input and output; multicast of spikes to several cores; limits on fan-in and weights; the latency"


def _products_with_weights(work: Workload) -> list[Operation]:
    return [op for op in work.operations.products if omissions.holds_weights(op)]


def _updates(chip: SpikingChip, work: Workload) -> Triple:
    """Return the mean joules per neuron over all steps of the code; a neuron is idle if none of its inputs spikes."""
    idle_j = chip.update_j if chip.idle_update_j is None else chip.idle_update_j
    ends = []
    for steps, spikes in zip(STEPS, SPIKES, strict=True):
        total_j = count = 0.0
        for op in _products_with_weights(work):
            outputs = op.repeats * op.output_words
            active = 1.0 - (1.0 - spikes / steps) ** (op.shape.n_in if op.shape is not None else 1)
            total_j += outputs * steps * (idle_j + active * (chip.update_j - idle_j))
            count += outputs
        ends.append(total_j / count if count else 0.0)
    return ends[0], ends[1], ends[2]


def _times(a: Triple, b: Triple) -> Triple:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]
