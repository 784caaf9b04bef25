"""Crossbars of resistive cells: one file per cell technology, the mapping of weights to conductances, the array."""

from analogsim.devices.crossbar.array import Crossbar as Crossbar
from analogsim.devices.crossbar.cell import Cell as Cell
from analogsim.devices.crossbar.cmo_hfox import CMOReRAM as CMOReRAM
from analogsim.devices.crossbar.datasheet import CELLS as CELLS
from analogsim.devices.crossbar.datasheet import DataSheet as DataSheet
from analogsim.devices.crossbar.ecram import ECRAM as ECRAM
from analogsim.devices.crossbar.faults import Faults as Faults
from analogsim.devices.crossbar.fefet import FeFET as FeFET
from analogsim.devices.crossbar.flash import NORFlash as NORFlash
from analogsim.devices.crossbar.generic import GenericCell as GenericCell
from analogsim.devices.crossbar.hermes import HermesPCM as HermesPCM
from analogsim.devices.crossbar.mapping import Differential as Differential
from analogsim.devices.crossbar.mapping import Offset as Offset
from analogsim.devices.crossbar.measured import MeasuredCell as MeasuredCell
from analogsim.devices.crossbar.milo import MiloReRAM as MiloReRAM
from analogsim.devices.crossbar.pcm import PCM as PCM
from analogsim.devices.crossbar.reram import ReRAM as ReRAM
from analogsim.devices.crossbar.slices import BitSlices as BitSlices
from analogsim.devices.crossbar.slices import MultiCell as MultiCell
from analogsim.devices.crossbar.sonos import SONOS as SONOS
from analogsim.devices.crossbar.wires import Wires as Wires
from analogsim.devices.crossbar.write_verify import WriteVerify as WriteVerify
