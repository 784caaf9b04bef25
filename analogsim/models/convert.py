"""Whole models onto analog hardware in one call: ``convert(model, hardware)``.

The model is not edited. Linen layers are converted while they are called (``analogsim.linen.conversion``), NNX layers
in a copy of the model (``analogsim.nnx.conversion``); parameter names, paths, shapes and dtypes stay, and a digital
checkpoint loads unchanged. Which hardware a layer gets is decided by ordered rules (``analogsim.hardware.rules``).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from analogsim.base.errors import InputError
from analogsim.factors.codec import Codec
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import Selector, checked_rules
from analogsim.models.bound import front_end_of

if TYPE_CHECKING:
    from flax import nnx


def convert(
    model: Any,
    hardware: Hardware | Sequence[tuple[Selector, Hardware | None]],
    *,
    where: Selector | None = None,
    codec: Codec | None = None,
    strict: bool = True,
    rngs: "nnx.Rngs | None" = None,
    x: Any = None,
) -> Any:
    """A Flax model whose layers run on analog hardware.

    Converted are Dense (Linear), DenseGeneral (LinearGeneral), Einsum, convolutions of any kind (strided, dilated,
    grouped, depthwise, transposed, ConvLocal), Embed (lookups, and ``attend`` as a second array ``<path>/attend``),
    and with them attention's projections and recurrent cells. Products of activations with activations stay digital,
    and so do the factors of ``nnx.LoRA``, beside the analog weight. ``analogsim.summary`` prints what became of every
    layer.

    Args:
      model: a Linen or NNX model. Layers that are analog already stay as they are.
      hardware: one hardware for every layer that ``where`` selects; or ordered rules ``(selector, hardware)``, of which
        the first that matches a layer decides, ``None`` keeping it digital.
      where: with a single hardware, which layers; all by default. A selector is a regular expression on whole paths
        (``"encoder/.*"``), a type of layer or of a module that holds layers (``nn.Conv``,
        ``nn.MultiHeadDotProductAttention``), a tuple of types, or a function of a ``Candidate`` with ``path``,
        ``module``, ``shape`` and ``within``.
      codec: what the kernels of Dense and DenseGeneral (Linear and LinearGeneral) become before they are stored, such
        as ``TensorTrain(rank=8)`` of ``analogsim.codecs``: every core is on tiles of its own, ``<path>/core_0``. A
        layer that cores would take more numbers for, or that the codec does not fit, stays as it is. Linen keeps the
        plain model's variables and computes cores from kernels in every call, with ranks by the size alone (every
        target but ``rel_error``) and without a derivative: the model in ``with analogsim.digital():`` has these cores,
        too, the rules are of layers and not of single cores, and a bill of its energy counts the kernels among the
        parameters and the decompositions as digital work. To train cores, to give rules to single ones, for a bill of
        cores alone, or for ``rel_error``, ``codecs.compress`` first. An NNX model's copy holds the cores, for every
        target.
      strict: raise for what cannot be converted, by path and reason: a layer whose hook is taken, or a parameter that
        the model multiplies with outside of any known layer (``analogsim.linen.analog_einsum`` and
        ``analogsim.nnx.parameter_einsum`` make a layer of it). False leaves it digital; ``summary`` lists it.
      rngs: seeds the noise streams of an NNX model's layers; needed there for hardware-aware training.
      x: inputs of an NNX model (``analogsim.Inputs``), by whose shape products outside of layers are found.

    Returns:
      A Linen module with the same parameter tree, or a converted copy of the NNX model with parameters of its own.

    Raises:
      InputError: at once, or (Linen) when the model is first run, since its layers exist only then.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> plain = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
      >>> analog = convert(plain, [("layers_2", None), (nn.Dense, preset("pcm"))])
      >>> variables = plain.init(jax.random.key(0), jnp.ones((1, 4)))       # the plain model's own parameters
      >>> analog.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    rules = checked_rules(hardware, where)
    if codec is not None and not isinstance(codec, Codec):
        raise InputError(f"codec = {codec!r}: must be a codec such as codecs.TensorTrain(rank=8), or None")
    return front_end_of(model).convert(model, rules, codec=codec, strict=strict, rngs=rngs, x=x)


def to_digital(model: Any) -> Any:
    """The plain digital model behind an analog one: what ``convert`` was given.

    Args:
      model: what ``convert`` returned, or an NNX model with analog layers.

    Returns:
      The Linen model itself, whose parameters are ``variables["params"]`` as ever; or a copy of the NNX model, trained
      parameters included, of plain layers. Where the parameters are cores (``codecs.compress``, or an NNX model's
      ``codec``), they stay cores. Of a Linen model with a ``codec`` this is the plain model with its whole kernels,
      unlike ``with analogsim.digital():``, in which the cores multiply.

    Raises:
      InputError: for a Linen model that was built of analog layers: run it in ``with analogsim.digital():``.

    Example:
      >>> import flax.linen as nn
      >>> from analogsim import preset
      >>> plain = nn.Dense(3)
      >>> to_digital(convert(plain, preset("pcm"))) is plain
      True
    """
    return front_end_of(model).to_digital(model)
