"""Checkpoints of models, their calibration and their chips, exact to the bit.

checkpoint   save, restore, Checkpoint
contents     the arrays of a model: collected, compared with a checkpoint and reassembled
outline      the analog layers of a model, compared before any array is read
chips        the arrays of a chip: cells, readings, age
description  hardware descriptions as JSON, compared field by field
leaves       arrays by name, dtype and shape
formats      conversion of older formats
folder       the folder on disk: atomic replacement, checksums, damage
"""

from analogsim.chips.checkpoint.checkpoint import Checkpoint as Checkpoint
from analogsim.chips.checkpoint.checkpoint import restore as restore
from analogsim.chips.checkpoint.checkpoint import save as save
