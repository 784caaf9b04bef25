"""Convert whole models to analog hardware: ``convert(model, hardware)``.

The model itself is not modified. Linen layers are converted while they are called (``analogsim.linen.conversion``), NNX
layers in a copy of the model (``analogsim.nnx.conversion``). Parameter names, paths, shapes and dtypes stay the same,
and a digital checkpoint loads unchanged. Ordered rules (``analogsim.hardware.rules``) assign hardware to layers.
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
    """Convert a Flax model so that its layers run on analog hardware.

    Converts Dense (Linear), DenseGeneral (LinearGeneral), Einsum, convolutions of any kind (strided, dilated, grouped,
    depthwise, transposed, ConvLocal) and Embed (lookups, and ``attend`` as a second array ``<path>/attend``), also
    inside attention and recurrent cells. Products of activations with activations stay digital, and so do the factors
    of ``nnx.LoRA``, which are added to the analog product. ``analogsim.summary`` lists the result for every layer.

    Args:
      model: a Linen or NNX model. Layers that are already analog stay unchanged.
      hardware: a ``Hardware`` for all layers that ``where`` selects; or ordered rules ``(selector, hardware)``, of
        which the first that matches a layer decides. Hardware ``None`` keeps the layer digital.
      where: selector of layers for a single ``Hardware``, by default all. A selector is a regular expression for full
        paths (``"encoder/.*"``), a class of layers or of modules that contain layers (``nn.Conv``,
        ``nn.MultiHeadDotProductAttention``), a tuple of classes, or a predicate on a ``Candidate`` with ``path``,
        ``module``, ``shape`` and ``within``.
      codec: codec such as ``TensorTrain(rank=8)`` of ``analogsim.codecs`` that compresses the kernels of Dense and
        DenseGeneral (Linear and LinearGeneral). Every core is stored on separate tiles, as ``<path>/core_0``. A layer
        stays uncompressed if its cores would hold more numbers than its kernel, or if the codec does not fit it.
        A copy of an NNX model contains the cores. A Linen model keeps its variables and computes the cores from the
        kernels in every call, with ranks determined by the size alone (every target except ``rel_error``) and without
        gradients. Then the digital model (``with analogsim.digital():``) uses the cores, too; rules apply to layers,
        not to single cores; and its energy breakdown counts the kernels as parameters and the decompositions as digital
        work. Use ``codecs.compress`` first to train cores, to give them separate rules, for an energy breakdown of the
        cores alone, or for ``rel_error``.
      strict: raise an error, with path and reason, for a layer whose hook is already used and for a parameter that the
        model multiplies with outside of any known layer; ``analogsim.linen.analog_einsum`` and
        ``analogsim.nnx.parameter_einsum`` turn such a product into a layer. False leaves both digital, and ``summary``
        lists them.
      rngs: ``nnx.Rngs`` that seeds the noise streams of an NNX model's layers, needed for hardware-aware training.
      x: inputs of an NNX model (``analogsim.Inputs``), whose shapes are used to find products outside of layers.

    Returns:
      A Linen module with the same parameter tree, or a converted copy of the NNX model with separate parameters.

    Raises:
      InputError: for a rule that matches no layer, or a layer that cannot be converted; for a Linen model when it is
        first run, because its layers exist only then.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> plain = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
      >>> analog = convert(plain, [("layers_2", None), (nn.Dense, preset("pcm"))])
      >>> variables = plain.init(jax.random.key(0), jnp.ones((1, 4)))
      >>> analog.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(1)}).shape
      (2, 3)
    """
    rules = checked_rules(hardware, where)
    if codec is not None and not isinstance(codec, Codec):
        raise InputError(f"codec = {codec!r}: must be a codec such as codecs.TensorTrain(rank=8), or None")
    return front_end_of(model).convert(model, rules, codec=codec, strict=strict, rngs=rngs, x=x)


def to_digital(model: Any) -> Any:
    """Return the plain digital model that was converted: the inverse of ``convert``.

    Args:
      model: a result of ``convert``, or an NNX model with analog layers.

    Returns:
      The original Linen model, whose parameters are still ``variables["params"]``; or a copy of the NNX model with
      plain layers and the trained parameters. Parameters that are cores (``codecs.compress``, or ``codec`` for an NNX
      model) stay cores. For a Linen model converted with a ``codec`` it is the plain model with full kernels, unlike in
      ``with analogsim.digital():``, where the cores are used.

    Raises:
      InputError: for a Linen model built from analog layers; run it in ``with analogsim.digital():`` instead.

    Example:
      >>> import flax.linen as nn
      >>> from analogsim import preset
      >>> plain = nn.Dense(3)
      >>> to_digital(convert(plain, preset("pcm"))) is plain
      True
    """
    return front_end_of(model).to_digital(model)
