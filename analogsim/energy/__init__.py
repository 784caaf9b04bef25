"""Energy per inference of a model on analog hardware, compared with other systems (a GPU, Eyeriss, a brain).

    c = analogsim.energy.compare(model, variables, x_sample)
    print(c)                   # both tables, and the costs that they exclude
    c.table()                  # one row per system and batch size, with a range of joules
    c.components_table()       # energy per component of the hardware, with the source of every figure
    c.to_dataset()             # the same numbers as an xarray.Dataset

Every system is charged for the same work: everything the model computes, counted from the traced function
(``workload``, for any JAX function). The energy breakdown of a system excludes work that it cannot do and states the
amount. Low and high are the ends of the reported figures, or a physical bound; typical is a measured value, or the
middle of the two (``breakdown``). A figure of which more than half is spent waiting is marked (``waiting``).

breakdown      EnergyBreakdown, EnergyItem: energy of one inference on one system, item by item
comparison     compare, Comparison: breakdowns of several systems
tables, page, export, coverage   a comparison as tables, HTML, arrays and sentences
ratios, waiting, omissions   energy ratios, idle energy, and work that a breakdown excludes
work           the model's operations, memory traffic and analog layers; no joules
chip           the analog hardware: arrays, converters, buffers and external memory, time and area
machines       the systems to compare with: processors, Eyeriss, photonic and spiking chips, the brain
carbon, lifecycle, training_runs   emissions of electricity and manufacture, and energy over a model's lifetime
validation     the account compared with published chips
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
