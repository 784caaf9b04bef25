"""Sweeps: hardware, chips and ages in one call, resumable, labelled, on one machine or many.

axes         what varies: numbers, structure, time
plan         the grid
evaluations  what is measured: ChipScores, or a function of the hardware
block        a part of the grid computed, in one compiled program
workers      who computes: this process, an executor, Dask
results      the dataset and its file
identity     what a file was computed from
run          sweep
statistics   mean and spread over chips
"""

from analogsim.base.netcdf import save_results as save_results
from analogsim.sweeps.evaluations import ChipScores as ChipScores
from analogsim.sweeps.results import NotWritten as NotWritten
from analogsim.sweeps.results import SweepStopped as SweepStopped
from analogsim.sweeps.results import load_results as load_results
from analogsim.sweeps.run import sweep as sweep
from analogsim.sweeps.statistics import chip_statistics as chip_statistics
