"""A brain's joules for the same number of synaptic events: a band, never one number.

    E = events * (8 fJ ... 0.8 pJ)          one event (a spike that arrives at a synapse) stands for one MAC

Low end: one released vesicle and what follows from it, 1.64e5 ATP, 8 to 14 fJ (Attwell and Laughlin, J. Cereb. Blood
Flow Metab. 21, 1133 (2001), doi 10.1097/00004647-200110000-00001, recalled). High end: the whole brain's 20 W over all
its events, 1.5e14 synapses at a mean rate of 0.16 Hz, about 0.8 pJ (rate: Lennie, Curr. Biol. 13, 493 (2003), doi
10.1016/S0960-9822(03)00135-0; power and synapses recalled). At 1e14 to 1e15 events a second the same division gives
200 to 20 fJ, inside the band. A spiking event is no 8-bit multiply-accumulate, and a brain does not compute this
network: the row is a scale, not a competitor.
"""

import math

from analogsim.devices.literature import Source
from analogsim.devices.papers import cited
from analogsim.energy.bill import Bill, Line, settle
from analogsim.energy.layer_work import Workload

LOW_J = 8e-15
HIGH_J = 0.8e-12

_SOURCES = (
    cited("attwell2001", note="8 fJ a vesicle", recalled=True),
    cited("lennie2003", note="mean rate 0.16 Hz"),
    Source(note="20 W, 1.5e14 synapses", recalled=True),
)


def bill(work: Workload, batch: int) -> Bill:
    """The band for as many synaptic events as the model does multiply-accumulates.

    Its ``energy_typical_j`` is the geometric middle of the band, where a plot puts its mark; it is no estimate.
    """
    line = Line(
        component="synapses",
        action="event",
        count=work.macs,
        unit="",
        each_j=math.sqrt(LOW_J * HIGH_J),
        each_low_j=LOW_J,
        each_high_j=HIGH_J,
        sources=_SOURCES,
    )
    return Bill(
        system="brain",
        batch=batch,
        lines=settle([line]),
        latency_s=None,
        note="a synaptic event for each MAC, from one vesicle (8 fJ) to its share of the whole 20 W (0.8 pJ, at a mean "
        "rate of 0.16 Hz); 20 W over 1e14 to 1e15 events/s are 200 to 20 fJ",
        excludes="all but a count of events: no brain computes this network",
    )
