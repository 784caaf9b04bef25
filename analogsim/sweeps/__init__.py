"""Sweeps over hardware, chips and ages: resumable, labelled, on one computer or a cluster.

axes         axes over numbers, structure and time
plan         the grid of points and chips
evaluations  the measurement: ChipScores, or a function of the hardware
block        one compiled program that computes a part of the grid
workers      this process, an executor, or Dask
results      the dataset and its file
identity     hashes of the inputs of a results file
run          sweep
statistics   mean and standard deviation over chips
"""

from analogsim.base.netcdf import save_results as save_results
from analogsim.sweeps.evaluations import ChipScores as ChipScores
from analogsim.sweeps.results import NotWritten as NotWritten
from analogsim.sweeps.results import SweepStopped as SweepStopped
from analogsim.sweeps.results import load_results as load_results
from analogsim.sweeps.run import sweep as sweep
from analogsim.sweeps.statistics import chip_statistics as chip_statistics
