"""The description that a layer is given, and everything about it as data.

hardware        Hardware: store, converters, tiles, ranges
presets         named hardware from the literature: preset("pcm")
prices          what parts of the hardware cost in joules, seconds and square metres
fresh_chip      FreshChip: a newly sampled chip in every training step
weight_modifiers  noise and quantisation of weights in training
override        hardware changed inside a with block
rules           which layer gets which hardware
file            hardware as TOML (kinds, toml_reader, toml_writer)
citation        cite: the papers behind a description
"""

from analogsim.hardware.energy_table import EnergyTable as EnergyTable
from analogsim.hardware.fresh_chip import FreshChip as FreshChip
from analogsim.hardware.hardware import Hardware as Hardware
