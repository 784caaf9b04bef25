"""Checkpoints of models, their calibration and their chips, exact to the bit.

checkpoint   save, restore, Checkpoint
contents     the variables of a model, its ranges and inputs
outline      layers, hardware and shapes, compared with the model before arrays are read
chips        chips: cells, readings, age
description  hardware as text, field by field
leaves       arrays by name, dtype and shape
formats      names in checkpoints of older formats
folder       a folder written whole: checksums, replacement, damage
"""

from analogsim.chips.checkpoint.checkpoint import Checkpoint as Checkpoint
from analogsim.chips.checkpoint.checkpoint import restore as restore
from analogsim.chips.checkpoint.checkpoint import save as save
