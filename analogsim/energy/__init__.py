"""What an inference costs in joules, beside a GPU, an Eyeriss and a brain.

    c = analogsim.energy.compare(model, variables, x_sample)
    print(c)                   # both tables, and what they leave out
    c.table()                  # one row a system and batch: a range of joules, never one flattering point
    c.components_table()       # where the joules of the hardware go, with the source of every price
    c.to_dataset()             # the same numbers as an xarray.Dataset

Every system is asked for the same work: all that the model computes, counted from the traced function (``workload``,
for any JAX function); what a machine has no way to compute is left out of its bill, which says how much that is. Low
and high are the ends of what sources report, or a physical bound; typical is a measured value, or the middle of the two
(``breakdown``). A figure of which more than half is spent waiting says so (``waiting``), and a ratio says what stands
for a
multiply-accumulate on either side (``ratios``). The model of each machine stands in its own file, with its equations
and citations: ``analog_lines`` and ``analog`` (the hardware), ``digital`` (GPUs, TPUs, edge chips, a server's
processor), ``eyeriss`` and ``row_stationary``, ``photonic``, ``neuromorphic``, ``brain``; ``number_formats``,
``compression`` and ``scaling`` have what digital numbers cost, ``carbon`` and ``lifecycle`` what a life of them does,
``validation`` how all this meets published machines.
"""

from analogsim.energy import carbon as carbon
from analogsim.energy import validation as validation
from analogsim.energy.breakdown import EnergyBreakdown as EnergyBreakdown
from analogsim.energy.breakdown import EnergyItem as EnergyItem
from analogsim.energy.breakdown import ModelDoesNotFit as ModelDoesNotFit
from analogsim.energy.chip.deployment import Deployment as Deployment
from analogsim.energy.chip.differentiable import inference_j as inference_j
from analogsim.energy.comparison import Comparison as Comparison
from analogsim.energy.comparison import compare as compare
from analogsim.energy.lifecycle import Lifecycle as Lifecycle
from analogsim.energy.lifecycle import lifecycle as lifecycle
from analogsim.energy.machines import photonic as photonic
from analogsim.energy.machines.brain import Brain as Brain
from analogsim.energy.machines.compression import STORAGE as STORAGE
from analogsim.energy.machines.digital_devices import Device as Device
from analogsim.energy.machines.digital_devices import devices as devices
from analogsim.energy.machines.neuromorphic import SpikingChip as SpikingChip
from analogsim.energy.machines.number_formats import FORMATS as FORMATS
from analogsim.energy.machines.systems import SYSTEMS as SYSTEMS
from analogsim.energy.machines.systems import System as System
from analogsim.energy.machines.systems import digital_system as digital_system
from analogsim.energy.work.operations import Operations as Operations
from analogsim.energy.work.tracing import workload as workload
