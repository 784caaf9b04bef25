"""Analog layers for Flax NNX: the plain layers with their own matmul hook filled.

    class MLP(nnx.Module):
        def __init__(self, rngs):
            self.hidden = AnalogLinear(64, 64, hardware=preset("pcm"), rngs=rngs)
            self.out = AnalogLinear(64, 10, hardware=preset("pcm"), rngs=rngs)

``AnalogLinear`` returns a ``flax.nnx.Linear``; its parameters are the digital model's. A layer runs in one of three
modes, which ``nnx.view(model, mode="digital")`` or ``model.set_attributes(mode=...)`` selects: ``"train"`` (a fresh
chip every call, the default), ``"chip"`` (the programmed chip that ``on_chip`` loads) and ``"digital"``. Noise comes
from each layer's own stream, forked from ``rngs`` at construction; plain ``jax.jit`` does not advance NNX streams and
would repeat the same noise every call, ``nnx.jit`` does. Every use of a layer advances its stream: while training, a
layer that is used twice in one pass runs on two fresh chips (on a programmed chip it is one array, in Linen always).

Layers that share one ``nnx.Param`` (tied weights) are trained as one and are an array each on a chip: the scales and
converters of an array serve one direction. ``analogsim.summary`` says of which layer a parameter is.

Layers that ``nnx.vmap`` stacks along the first axis and ``nnx.scan`` runs are one array and one pair of ranges each.
"""

from analogsim.nnx.chips import analog_ops as analog_ops
from analogsim.nnx.chips import load as load
from analogsim.nnx.chips import mark_places as mark_places
from analogsim.nnx.chips import on_chip as on_chip
from analogsim.nnx.chips import program as program
from analogsim.nnx.chips import stack_shape as stack_shape
from analogsim.nnx.einsum import parameter_einsum as parameter_einsum
from analogsim.nnx.factored import FactoredLinear as FactoredLinear
from analogsim.nnx.factored import LowRankLinear as LowRankLinear
from analogsim.nnx.factored import TensorTrainLinear as TensorTrainLinear
from analogsim.nnx.hooks import MODES as MODES
from analogsim.nnx.hooks import AnalogOp as AnalogOp
from analogsim.nnx.hooks import ProgrammedVariable as ProgrammedVariable
from analogsim.nnx.hooks import RangeVariable as RangeVariable
from analogsim.nnx.hooks import attach as attach
from analogsim.nnx.layers import AnalogConv as AnalogConv
from analogsim.nnx.layers import AnalogLinear as AnalogLinear
from analogsim.nnx.mesh_linear import MeshLinear as MeshLinear
