"""Energy models of the systems that the analog hardware is compared with.

systems                      SYSTEMS, System, digital_system: the systems by name
digital, digital_devices     GPUs, TPUs, edge chips and a server's processor: Device, devices
timing                       time of each operation on a digital device
eyeriss, row_stationary      Eyeriss and its row-stationary dataflow
photonic                     a Mach-Zehnder mesh
neuromorphic                 spiking chips: SpikingChip
brain                        the brain: Brain
number_formats, compression, scaling   energy per digital operation, compressed weights, process nodes
"""

from analogsim.energy.machines.brain import Brain as Brain
from analogsim.energy.machines.compression import STORAGE as STORAGE
from analogsim.energy.machines.digital_devices import Device as Device
from analogsim.energy.machines.digital_devices import devices as devices
from analogsim.energy.machines.neuromorphic import SpikingChip as SpikingChip
from analogsim.energy.machines.number_formats import FORMATS as FORMATS
from analogsim.energy.machines.systems import SYSTEMS as SYSTEMS
from analogsim.energy.machines.systems import System as System
from analogsim.energy.machines.systems import digital_system as digital_system
