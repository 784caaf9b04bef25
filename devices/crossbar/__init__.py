"""Crossbars of resistive cells: one file a cell technology, the mapping of weights to conductances, the array."""

from .array import Crossbar as Crossbar
from .cell import Cell as Cell
from .mapping import Differential as Differential
from .pcm import PCM as PCM
from .reram import ReRAM as ReRAM
