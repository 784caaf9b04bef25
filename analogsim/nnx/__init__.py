"""Analog layers for Flax NNX: Flax's layers with their matmul hook filled.

    class MLP(nnx.Module):
        def __init__(self, rngs):
            self.hidden = AnalogLinear(64, 64, hardware=preset("pcm"), rngs=rngs)
            self.out = AnalogLinear(64, 10, hardware=preset("pcm"), rngs=rngs)

``AnalogLinear`` returns an ``nnx.Linear`` with the parameters of the digital model. A layer runs in one of three modes,
selected by ``nnx.view(model, mode="digital")`` or ``model.set_attributes(mode=...)``: ``"train"`` (default; a fresh
chip per call), ``"chip"`` (the programmed chip that ``on_chip`` loads) or ``"digital"``.

Noise comes from a separate stream per layer, forked from ``rngs`` at construction. Use ``nnx.jit``: plain ``jax.jit``
does not advance NNX streams and would repeat the same noise in every call. Every use of a layer advances its stream, so
in training a layer that is used twice in one pass runs on two fresh chips. (On a programmed chip, and always in Linen,
it is one array.)

Layers that share one ``nnx.Param`` (tied weights) share its training, but have separate arrays on a chip, because the
scales and converters of an array serve one direction. ``analogsim.summary`` shows which layers share a parameter.

Layers stacked by ``nnx.vmap`` along the first axis and run by ``nnx.scan`` have a separate array and separate ranges
each.
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
