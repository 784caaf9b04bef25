"""Matrices as products of cores: tensor trains and low rank. ``analogsim.codecs`` is the public interface.

codec         Codec, TensorTrain, LowRank: choice of cores and ranks
layout        modes and ranks of a train, and its costs
trains        decomposition, rounding, decoding
contraction   products of an input with cores, without forming the matrix
propagation   propagation of core errors to the matrix
record        error and savings of a compression
"""

from analogsim.factors.codec import Codec as Codec
from analogsim.factors.codec import LowRank as LowRank
from analogsim.factors.codec import TensorTrain as TensorTrain
from analogsim.factors.contraction import apply as apply
from analogsim.factors.contraction import contract as contract
from analogsim.factors.contraction import macs as macs
from analogsim.factors.layout import CoreLayout as CoreLayout
from analogsim.factors.layout import balanced_modes as balanced_modes
from analogsim.factors.propagation import Propagated as Propagated
from analogsim.factors.propagation import propagate_errors as propagate_errors
from analogsim.factors.record import Compression as Compression
from analogsim.factors.trains import balanced as balanced
from analogsim.factors.trains import decode as decode
from analogsim.factors.trains import initial as initial
from analogsim.factors.trains import left_orthogonal as left_orthogonal
from analogsim.factors.trains import rounded as rounded
