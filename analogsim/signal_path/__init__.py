"""From input to output, once for every store: range, DAC, tiles, noise, ADC, digital sum.

tiling              a matrix cut into tiles and scaled
programmed          the tiles fabricated and written
reading             what they hold at one time, as arrays
drift_compensation  factors that undo drift
path                the product of an input with a reading; starts here
lookup              rows of a stored table
driving             the input: its range, its codes, the noise of DACs
tile_row            one row of tiles: drive, noise, ADC, digital combination
line_noise          noise of reads and of detection at the ADC
ranges              the ranges of the converters
bound_management    wider input ranges for examples that overflow
hardware_spec       what all this needs to know of the hardware
operators/          how inputs meet a weight matrix: products, convolutions, lookups
"""
