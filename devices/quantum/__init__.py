"""Weights in quantum registers, multi-level cells, and associative memories.

channels          a stored qubit: damping, dephasing, depolarising; density matrices, diagonals, trajectories
register          vectors as amplitudes: preparation, storage, read-out, overlaps
shot_noise        statistics of outcome frequencies in S shots
amplitude_store   the weight store: one register per output
accounting        Holevo bound, channel capacity, Landauer and Carnot limits, wall-plug energy
multilevel        information in multi-level cells, and in photon numbers of a leaking mode
associative       Hopfield networks, modern and classical; holographic vectors; sampled products
"""

from analogsim.devices.quantum.accounting import StorageReport as StorageReport
from analogsim.devices.quantum.accounting import holevo_bits as holevo_bits
from analogsim.devices.quantum.amplitude_store import AmplitudeStore as AmplitudeStore
from analogsim.devices.quantum.associative import DenseAssociativeMemory as DenseAssociativeMemory
from analogsim.devices.quantum.channels import Qubit as Qubit
from analogsim.devices.quantum.channels import density_after as density_after
from analogsim.devices.quantum.channels import probabilities_after as probabilities_after
from analogsim.devices.quantum.channels import trajectory_after as trajectory_after
from analogsim.devices.quantum.multilevel import FockQudit as FockQudit
from analogsim.devices.quantum.multilevel import MultiLevelCell as MultiLevelCell
from analogsim.devices.quantum.register import AmplitudeRegister as AmplitudeRegister
from analogsim.devices.quantum.shot_noise import shots_for as shots_for
