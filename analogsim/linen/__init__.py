"""Analog layers for Flax Linen: the plain layers with their own matmul hook filled.

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(AnalogDense(64, hardware=preset("pcm"))(x))
            return AnalogDense(10, hardware=preset("pcm"))(x)

``AnalogDense`` returns a ``flax.linen.Dense``: parameter names, paths (``Dense_0``), shapes, initial draws and dtypes
are the digital model's, and its checkpoints load unchanged. What the caller passes decides how a layer runs:

    model.apply(variables, x, rngs={"analog": key})                 a fresh chip every call (hardware-aware training)
    model.apply(chip.variables, x, rngs={"analog": key})            the programmed chip
    with analogsim.digital(): model.apply(variables, x)             exact

Chips live in the collection ``analog``, calibrated ranges in ``ranges``; nothing is added to ``params``. A layer that
one call uses several times is one chip in it, with fresh read noise at every use.

Transformations inside the model (``nn.scan``, ``nn.vmap``, ``nn.remat``, ``nn.RNN``, ...) take chips, ranges and noise
where they take the parameters: steps that share parameters share a chip and its ranges, layers that are stacked have
one each, along axis 0, and every step reads with noise of its own (``analogsim.linen.lifting``). What the author names
himself stays as he has it:

    nn.scan(Block, variable_axes={"params": 0, "analog": 0, "ranges": 0},
            split_rngs={"params": True, "analog": True, "chip": True}, length=3)
    nn.scan(Cell, variable_broadcast=["params", "analog", "ranges"],
            split_rngs={"params": False, "analog": True, "chip": False})
    model.apply(variables, x, rngs={"analog": noise_key, "chip": chip_key})     training on one chip over many calls
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
