"""Program, age, calibrate, evaluate and save chips of a model.

chip           program, Chip: one sampled chip, read at any time
calibration    calibrate: input and output ranges from data
range_report   range_report: how well the ranges fit
adc_inputs     the values at the inputs of the ADCs
fitted_adc     fit_adc: non-uniform codes of an ADC from data
evaluation     evaluate: scores of many ageing chips (metrics, outputs)
matrix         program_matrix: one matrix outside of a model
serialization  Flax's serialisation of chips
checkpoint/    save, restore: a model, its ranges and its chips, through Orbax
"""

from analogsim.chips.calibration import calibrate as calibrate
from analogsim.chips.checkpoint import restore as restore
from analogsim.chips.checkpoint import save as save
from analogsim.chips.chip import Chip as Chip
from analogsim.chips.chip import program as program
from analogsim.chips.evaluation import evaluate as evaluate
from analogsim.chips.fitted_adc import fit_adc as fit_adc
from analogsim.chips.matrix import ProgrammedMatrix as ProgrammedMatrix
from analogsim.chips.matrix import ProgrammedPair as ProgrammedPair
from analogsim.chips.matrix import program_matrix as program_matrix
from analogsim.chips.range_report import range_report as range_report
