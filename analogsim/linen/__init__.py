"""Analog layers for Flax Linen: the plain layers with Flax's matmul hook filled.

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(AnalogDense(64, hardware=preset("pcm"))(x))
            return AnalogDense(10, hardware=preset("pcm"))(x)

``AnalogDense`` returns a ``flax.linen.Dense``: parameter names, paths (``Dense_0``), shapes, initial values and dtypes
are those of the digital model, and its checkpoints load unchanged. The arguments of the call decide how a layer runs:

    model.apply(variables, x, rngs={"analog": key})                 a fresh chip per call (hardware-aware training)
    model.apply(chip.variables, x, rngs={"analog": key})            the programmed chip
    with analogsim.digital(): model.apply(variables, x)             the digital model

Chips are stored in the collection ``analog``, calibrated ranges in ``ranges``; nothing is added to ``params``. A layer
that is used several times in one call is one chip, with new read noise at every use.

Transformations inside the model (``nn.scan``, ``nn.vmap``, ``nn.remat``, ``nn.RNN``, ...) treat chips and ranges like
parameters: steps that share parameters share a chip and its ranges, stacked layers have one each, along axis 0. Read
noise is drawn separately for every step (``analogsim.linen.lifting``). Settings that you name yourself are not changed:

    nn.scan(Block, variable_axes={"params": 0, "analog": 0, "ranges": 0},
            split_rngs={"params": True, "analog": True, "chip": True}, length=3)
    nn.scan(Cell, variable_broadcast=["params", "analog", "ranges"],
            split_rngs={"params": False, "analog": True, "chip": False})

To train on one chip over many calls, fix the key of its fabrication:

    model.apply(variables, x, rngs={"analog": noise_key, "chip": chip_key})
"""

from analogsim.linen.einsum import analog_einsum as analog_einsum
from analogsim.linen.factored import LowRankDense as LowRankDense
from analogsim.linen.factored import TensorTrainDense as TensorTrainDense
from analogsim.linen.hooks import AnalogConvGeneralDilated as AnalogConvGeneralDilated
from analogsim.linen.hooks import AnalogDotGeneral as AnalogDotGeneral
from analogsim.linen.hooks import conv_hook as conv_hook
from analogsim.linen.hooks import dot_general_hook as dot_general_hook
from analogsim.linen.layers import AnalogConv as AnalogConv
from analogsim.linen.layers import AnalogDense as AnalogDense
from analogsim.linen.mesh_dense import MeshDense as MeshDense
