"""From input to output, once for every store: input range, DAC, tiles, noise, ADC, digital sum.

tiling              cut matrices and inputs into tiles; normalise
programmed          program: write a matrix onto tiles; ProgrammedTiles, ChipArray
reading             Reading: the tiles at a time
path                multiply: the product of an input with a reading
driving             input range, input codes, noise of DACs
tile_row            one row of tiles, its ADCs and the digital sum
line_noise          noise of reads and of detection at the ADC inputs
ranges              Ranges: calibrated ranges of a layer
bound_management    inputs that overflow an ADC are re-read with a wider range
lookup              rows of a stored table
drift_compensation  digital factors that undo drift
hardware_spec       what the signal path needs to know of hardware
operators/          how inputs meet a weight matrix: products, convolutions, lookups, complex numbers
"""

from analogsim.signal_path.path import multiply as multiply
from analogsim.signal_path.programmed import ChipArray as ChipArray
from analogsim.signal_path.programmed import ProgrammedTiles as ProgrammedTiles
from analogsim.signal_path.programmed import program as program
from analogsim.signal_path.ranges import Ranges as Ranges
from analogsim.signal_path.reading import Reading as Reading
