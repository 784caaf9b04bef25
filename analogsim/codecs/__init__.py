"""Codecs: how numbers are represented before they are stored, independent of what stores them.

A matrix     ``TensorTrain`` and ``LowRank``: ``compress``, ``encode``, ``initial``; ``apply``, ``decode``, ``macs``
A model      ``compress(model, variables, x, codec)``, or ``analogsim.convert(model, hardware, codec=codec)``
Layers       ``linen.TensorTrainDense``, ``linen.LowRankDense``, ``nnx.TensorTrainLinear``, ``nnx.LowRankLinear``
Training     ``rounded`` and ``round_model`` (lower ranks), ``left_orthogonal``, ``balanced``
Errors       ``propagated``: from relative errors of cores to that of the matrix

Every core is stored on tiles of its own and multiplies by the one signal path that all layers share. Cores take fewer
cells than their matrix and are read more often, so that there are fewer cells and more conversions.
"""

from analogsim.codecs.codec import Codec as Codec
from analogsim.codecs.codec import LowRank as LowRank
from analogsim.codecs.codec import TensorTrain as TensorTrain
from analogsim.codecs.contraction import apply as apply
from analogsim.codecs.contraction import contract as contract
from analogsim.codecs.contraction import macs as macs
from analogsim.codecs.layout import Layout as Layout
from analogsim.codecs.layout import balanced_modes as balanced_modes
from analogsim.codecs.models import Compressed as Compressed
from analogsim.codecs.models import compress as compress
from analogsim.codecs.models import factored_layers as factored_layers
from analogsim.codecs.models import round_model as round_model
from analogsim.codecs.propagation import Propagated as Propagated
from analogsim.codecs.propagation import propagated as propagated
from analogsim.codecs.record import Compression as Compression
from analogsim.codecs.trains import balanced as balanced
from analogsim.codecs.trains import decode as decode
from analogsim.codecs.trains import initial as initial
from analogsim.codecs.trains import left_orthogonal as left_orthogonal
from analogsim.codecs.trains import rounded as rounded
