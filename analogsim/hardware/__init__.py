"""The description that a layer is given, and everything about it as data.

hardware          Hardware: store, converters, tiles, ranges
presets           preset, presets: hardware from the literature, by name
energy_table      EnergyTable: what parts of the hardware take in joules, seconds and square metres
fresh_chip        FreshChip: a newly sampled chip in every training step
weight_modifier   WeightModifier: the base of those below
weight_modifiers  noise, rounding and faults of weights in training
override          override_hardware: other hardware inside a with block
rules             which layer gets which hardware
citation          cite: the papers behind a description
file              to_toml, from_toml, load_hardware (kinds, toml_reader, toml_writer)
"""

from analogsim.hardware.citation import cite as cite
from analogsim.hardware.energy_table import EnergyTable as EnergyTable
from analogsim.hardware.fresh_chip import FreshChip as FreshChip
from analogsim.hardware.hardware import Hardware as Hardware
from analogsim.hardware.override import override_hardware as override_hardware
from analogsim.hardware.presets import preset as preset
from analogsim.hardware.presets import presets as presets
from analogsim.hardware.weight_modifier import WeightModifier as WeightModifier
