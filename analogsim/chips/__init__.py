"""Chips of a model: programmed, aged, calibrated, measured, saved.

chip           program, Chip: one sampled chip, at an age
calibration    calibrate: input and output ranges from data
range_report   range_report: how well the ranges fit
adc_inputs     what reaches the ADCs
fitted_adc     fit_adc: levels of an ADC from data
evaluation     evaluate: hundreds of ageing chips; metrics, outputs
matrix         program_matrix: one matrix without a model
serialization  Flax's serialisation of chips
checkpoint/    save, restore: model, ranges and chips through Orbax
"""
