"""Codecs: compressed representations of matrices, independent of the hardware that stores them.

Matrices     ``TensorTrain`` and ``LowRank``: ``compress``, ``encode``, ``initial``; ``apply``, ``decode``, ``macs``
Models       ``compress(model, variables, x, codec)``, or ``analogsim.convert(model, hardware, codec=codec)``
Layers       ``linen.TensorTrainDense``, ``linen.LowRankDense``, ``nnx.TensorTrainLinear``, ``nnx.LowRankLinear``
Training     ``rounded`` and ``round_model`` (lower ranks), ``left_orthogonal``, ``balanced``
Errors       ``propagate_errors``: relative error of the matrix from those of its cores

Every core is stored on separate tiles and uses the signal path of all layers. Cores take fewer cells than their matrix
and are read more often, which means fewer cells and more conversions.
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
from analogsim.linen.compression import factored_layers as factored_layers
from analogsim.models.compress import Compressed as Compressed
from analogsim.models.compress import compress as compress
from analogsim.models.compress import round_model as round_model
