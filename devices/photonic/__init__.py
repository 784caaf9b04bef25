"""Photonic weight stores (meshes, ring banks, phase-change crossbars, fading pulses) and optical detection.

light, detection             photon energy, losses; photodiodes, homodyne detection, photon counts
interferometer, layouts, mesh    one Mach-Zehnder interferometer, mesh layouts, unitary matrices on a mesh
phase_shifter, phase_noise   DACs, heaters and thermal crosstalk; effect of phase noise on a matrix
grid, mzi_mesh               positions of the phase shifters; store: a matrix on two meshes
ring, ring_bank              add-drop microrings; store: one wavelength per input, one ring per weight
phase_change, tensor_core    absorbing films; store: an incoherent crossbar of them
volatile, fading_light       media that store light for a limited time; store: pairs of pulses in such a medium
hold_costs                   cost of holding one value in each medium
"""

from analogsim.devices.photonic.detection import Homodyne as Homodyne
from analogsim.devices.photonic.detection import Photodiode as Photodiode
from analogsim.devices.photonic.fading_light import FadingLight as FadingLight
from analogsim.devices.photonic.hold_costs import hold_costs as hold_costs
from analogsim.devices.photonic.mzi_mesh import MZIMesh as MZIMesh
from analogsim.devices.photonic.phase_change import FILMS as FILMS
from analogsim.devices.photonic.phase_change import OpticalPCM as OpticalPCM
from analogsim.devices.photonic.phase_shifter import SHIFTERS as SHIFTERS
from analogsim.devices.photonic.phase_shifter import PhaseShifter as PhaseShifter
from analogsim.devices.photonic.ring import RINGS as RINGS
from analogsim.devices.photonic.ring import Ring as Ring
from analogsim.devices.photonic.ring_bank import RingBank as RingBank
from analogsim.devices.photonic.tensor_core import PhotonicTensorCore as PhotonicTensorCore
from analogsim.devices.photonic.volatile import AtomicMemory as AtomicMemory
from analogsim.devices.photonic.volatile import Cavity as Cavity
from analogsim.devices.photonic.volatile import DelayLine as DelayLine
from analogsim.devices.photonic.volatile import RecirculatingLoop as RecirculatingLoop
