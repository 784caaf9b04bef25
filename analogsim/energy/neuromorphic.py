"""Spiking chips: what the same network costs in events and neuron updates.

    E = events * e_event + updates * e_update

One multiply-accumulate is one synaptic event for every spike of its input, and every output is a neuron that is updated
every step. The band: from one spike an input in a single step, to a rate code of 16 steps with a spike in half of them
(both chosen here). A spiking network that was trained as one may need far fewer events; this prices the same network.
Costs as collected for KerasSpiking (github.com/nengo/keras-spiking); Loihi's are those of Davies et al., IEEE Micro 38,
82 (2018), doi 10.1109/MM.2018.112130359.
"""

import dataclasses

from analogsim.devices.literature import Source
from analogsim.devices.papers import cited
from analogsim.energy.bill import Bill, Line, settle
from analogsim.energy.layer_work import Workload

STEPS = 16  #: of the rate code at the high end
SPIKES = 8  #: of an input in them

_KERAS_SPIKING = Source(note="table of KerasSpiking")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpikingChip:
    """Costs of a chip's two events.

    Attributes:
      name: of the chip.
      event_j: one spike that arrives at a synapse.
      update_j: one neuron for one step.
      sources: where they come from.
    """

    name: str
    event_j: float
    update_j: float
    sources: tuple[Source, ...]


#: Published costs.
CHIPS = {
    "Loihi": SpikingChip(
        name="Loihi", event_j=23.6e-12 + 3.5e-12, update_j=81e-12,
        sources=(cited("davies2018", note="23.6 + 3.5 pJ an event, 81 pJ an update"), _KERAS_SPIKING),
    ),
    "SpiNNaker": SpikingChip(name="SpiNNaker", event_j=13.3e-9, update_j=26e-9, sources=(_KERAS_SPIKING,)),
    "SpiNNaker2": SpikingChip(name="SpiNNaker2", event_j=0.45e-9, update_j=2.19e-9, sources=(_KERAS_SPIKING,)),
}  # fmt: skip


def bill(chip: SpikingChip, work: Workload, batch: int) -> Bill:
    """The band for this network on a spiking chip."""
    n = work.operations.examples
    neurons = sum(op.repeats * op.output_words for op in work.operations.products) / n
    rows = (
        ("synapses", "event", work.macs, chip.event_j, SPIKES),
        ("neurons", "update", neurons, chip.update_j, STEPS),
    )
    lines = [
        Line(component=component, action=action, count=count, unit="", each_j=each_j, each_low_j=each_j,
             each_high_j=times * each_j, sources=chip.sources)
        for component, action, count, each_j, times in rows
    ]  # fmt: skip
    return Bill(
        system=chip.name,
        batch=batch,
        lines=settle(lines),
        latency_s=None,
        note=f"low: each input spikes once, one step; high: rate code, {SPIKES} spikes in {STEPS} steps",
        excludes="idle cores, input and output, and what the events of another code would be",
    )
