"""Weights in quantum registers, cells of many levels, and memories asked by content.

channels          a stored qubit: damping, dephasing, depolarising; density matrices, diagonals, trajectories
register          vectors as amplitudes: preparation, storage, read-out, overlaps
shot_noise        how the shares of outcomes scatter in S shots
amplitude_store   the store: a register an output
accounting        Holevo's bound, capacities, Landauer and Carnot, the bill at the wall plug
multilevel        bits of cells with many levels, and of photons in a leaking mode
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
