"""From input to output, once for every store: range, DAC, tiles, noise, ADC, digital sum.

tiles               a matrix cut into tiles, programmed and read
driving             the input: its range, its codes, the noise of DACs
path                the product of an input with tiles: noise, ADC, sum, rescaling
line_noise          noise of reads and of detection at the ADC
drift_compensation  factors that undo drift
operators/          how inputs meet a weight matrix: products, convolutions, lookups
"""
