"""Light as a weight store: meshes, ring banks, phase-change cells, light that fades; and its detection.

light, detection             photons, losses; photodiodes, homodyne detection, counts
interferometer, layouts, mesh    one Mach-Zehnder interferometer, where many stand, unitary matrices on them
phase_shifter, phase_noise   converters, heaters and their crosstalk; noise of phases in a matrix
mzi_mesh                     the store: a matrix on two meshes
ring, ring_bank              add-drop microrings; the store: a wavelength an input, a ring a weight
phase_change, tensor_core    absorbing films; the store: an incoherent crossbar of them
volatile, fading_light       media that hold light for a while; the store: pairs of pulses in one
hold_costs                   what holding one value costs in each
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
