"""Physical models of the devices that store weights, without any dependence on Flax, layers or training.

protocol     the ``WeightStore`` protocol: program, read, noise, cost
crossbar     memory cells (PCM, ReRAM, SONOS, flash, ECRAM, FeFET, generic, measured) and their data sheets, mappings of
             weights to conductances, wire resistance, the array
photonic     interferometer meshes, ring banks, phase-change tensor cores, fading light, detection
quantum      registers whose amplitudes are weights, multi-level cells, associative memories
digital      digital memory, exact or rounded

Descriptions, sources and errors come from ``analogsim.base`` and are re-exported here.
"""

from analogsim.base.description import Description as Description
from analogsim.base.description import describe as describe
from analogsim.base.description import field as field
from analogsim.base.description import sources as sources
from analogsim.base.description import static as static
from analogsim.base.errors import InputError as InputError
from analogsim.base.literature import Paper as Paper
from analogsim.base.literature import Source as Source
from analogsim.base.literature import cited as cited
from analogsim.base.literature import papers_from as papers_from
from analogsim.devices.crossbar import CELLS as CELLS
from analogsim.devices.crossbar import ECRAM as ECRAM
from analogsim.devices.crossbar import PCM as PCM
from analogsim.devices.crossbar import SONOS as SONOS
from analogsim.devices.crossbar import BitSlices as BitSlices
from analogsim.devices.crossbar import CMOReRAM as CMOReRAM
from analogsim.devices.crossbar import Crossbar as Crossbar
from analogsim.devices.crossbar import DataSheet as DataSheet
from analogsim.devices.crossbar import Differential as Differential
from analogsim.devices.crossbar import Faults as Faults
from analogsim.devices.crossbar import FeFET as FeFET
from analogsim.devices.crossbar import GenericCell as GenericCell
from analogsim.devices.crossbar import HermesPCM as HermesPCM
from analogsim.devices.crossbar import MeasuredCell as MeasuredCell
from analogsim.devices.crossbar import MiloReRAM as MiloReRAM
from analogsim.devices.crossbar import MultiCell as MultiCell
from analogsim.devices.crossbar import NORFlash as NORFlash
from analogsim.devices.crossbar import Offset as Offset
from analogsim.devices.crossbar import ReRAM as ReRAM
from analogsim.devices.crossbar import Wires as Wires
from analogsim.devices.crossbar import WriteVerify as WriteVerify
from analogsim.devices.crossbar.datasheet import datasheet as datasheet
from analogsim.devices.digital import DigitalMemory as DigitalMemory
from analogsim.devices.photonic import AtomicMemory as AtomicMemory
from analogsim.devices.photonic import Cavity as Cavity
from analogsim.devices.photonic import DelayLine as DelayLine
from analogsim.devices.photonic import FadingLight as FadingLight
from analogsim.devices.photonic import Homodyne as Homodyne
from analogsim.devices.photonic import MZIMesh as MZIMesh
from analogsim.devices.photonic import OpticalPCM as OpticalPCM
from analogsim.devices.photonic import PhaseShifter as PhaseShifter
from analogsim.devices.photonic import Photodiode as Photodiode
from analogsim.devices.photonic import PhotonicTensorCore as PhotonicTensorCore
from analogsim.devices.photonic import RecirculatingLoop as RecirculatingLoop
from analogsim.devices.photonic import Ring as Ring
from analogsim.devices.photonic import RingBank as RingBank
from analogsim.devices.protocol import Action as Action
from analogsim.devices.protocol import Moments as Moments
from analogsim.devices.protocol import OneColumnPerOutput as OneColumnPerOutput
from analogsim.devices.protocol import StoreTags as StoreTags
from analogsim.devices.protocol import WeightStore as WeightStore
from analogsim.devices.quantum import AmplitudeRegister as AmplitudeRegister
from analogsim.devices.quantum import AmplitudeStore as AmplitudeStore
from analogsim.devices.quantum import DenseAssociativeMemory as DenseAssociativeMemory
from analogsim.devices.quantum import FockQudit as FockQudit
from analogsim.devices.quantum import MultiLevelCell as MultiLevelCell
from analogsim.devices.quantum import Qubit as Qubit
