"""Compress whole models: replace the kernels of dense layers by tensor-train or low-rank cores.

In a Linen model's variables, ``<path>/kernel`` becomes ``<path>/core_0/kernel``, ``<path>/core_1/kernel``, ..., and the
returned model multiplies with the cores. An NNX model is copied with other layers. Both run digitally, can be trained,
and can be converted by ``analogsim.convert``, which stores every core on separate tiles.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from analogsim.base.call_inputs import inputs_of
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.tables import as_text, plain
from analogsim.base.types import PyTree
from analogsim.factors.codec import Codec
from analogsim.factors.contraction import check_contraction
from analogsim.factors.record import Compression, compressions_table
from analogsim.factors.trains import balanced, rounded
from analogsim.hardware.rules import Selector
from analogsim.layers.compression import CoreSelection
from analogsim.models.bound import front_end_of, front_ends

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Compressed(ByValue):
    """Result of ``compress``, which has an example; prints as a table.

    Attributes:
      model: the compressed model, which can be trained or converted.
      variables: variables of a Linen model, with cores instead of kernels; None for NNX.
      layers: records of the compressed layers, by path.
      uncompressed: reasons why other layers stay dense, by path.
    """

    model: Any
    variables: PyTree
    layers: dict[str, Compression]
    uncompressed: dict[str, str]

    @property
    def params(self) -> int:
        """Number of parameters in the cores of all compressed layers."""
        return sum(layer.params for layer in self.layers.values())

    @property
    def ratio(self) -> float:
        """Compression ratio: parameters in the kernels of the compressed layers per parameter in their cores."""
        return sum(layer.layout.dense for layer in self.layers.values()) / max(self.params, 1)

    def table(self) -> "rich.table.Table":
        """Return a table with one row per compressed layer; its caption lists the layers that stay dense."""
        table = compressions_table(f"{len(self.layers)} compressed layers", self.layers.items())
        if self.uncompressed:
            table.caption = "\n".join(
                plain(f"not compressed: {path}, {why}") for path, why in self.uncompressed.items()
            )
        return table

    def __str__(self) -> str:
        return as_text(self.table())


def compress(
    model: Any,
    variables: PyTree = None,
    x: Any = None,
    codec: Codec | None = None,
    where: Selector | None = None,
    *,
    only_smaller: bool = True,
    contraction: str = "auto",
    **options: Any,
) -> Compressed:
    """Replace the kernels of a model's dense layers by cores.

    Args:
      model, variables: a plain Linen model and its variables, or an NNX model and None; not modified.
      x: inputs of a Linen model (``analogsim.Inputs``), of which only the shapes are used.
      codec: ``TensorTrain`` or ``LowRank`` with a target, which applies to each layer separately. A layer that it does
        not fit (modes of another size, a budget below rank 1) stays dense, with the reason in ``uncompressed``.
      where: selector of layers, as for ``analogsim.convert``; by default all Dense and DenseGeneral (Linear and
        LinearGeneral), including those of attention.
      only_smaller: keep a layer dense if its cores would hold as many numbers as its kernel or more.
      contraction: how digital layers multiply: ``"factored"``, ``"dense"``, or ``"auto"`` for the one with fewer
        multiply-accumulates.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      The compressed model, its variables, and a record per layer. All cores of a layer have similar root mean squares
      (``balanced``), so that one learning rate fits all of them.

    Raises:
      InputError: if no layer is compressed, with the reasons; if a kernel contains NaN or infinity.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from analogsim import convert, preset
      >>> from analogsim.codecs import TensorTrain, compress
      >>> plain, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(3)]), jnp.ones((1, 64))
      >>> small = compress(plain, plain.init(jax.random.key(0), x), x, TensorTrain(rank=4), where="layers_0")
      >>> sorted(small.variables["params"]["layers_0"])
      ['bias', 'core_0', 'core_1', 'core_2']
      >>> convert(small.model, preset("ideal")).apply(small.variables, x).shape
      (1, 3)
    """
    if not isinstance(codec, Codec):
        raise InputError(f"codec = {codec!r}: must be a codec such as codecs.TensorTrain(rel_error=0.1)")
    check_contraction(contraction)
    if x is not None:
        x, options = inputs_of(x, options)
    selection = CoreSelection(codec, where, only_smaller)
    compressed, arrays = front_end_of(model).compress(model, variables, x, selection, contraction, options)
    selection.check()
    return Compressed(compressed, arrays, selection.layers, selection.uncompressed)


def round_model(model: Any, *, rel_error: float | None = None, rank: int | None = None) -> Any:
    """Reduce the ranks of every compressed layer of a model; see ``codecs.rounded``.

    Called between steps of an optimiser, it finds the ranks that training needs. Shapes change with the ranks, so the
    optimiser state must be initialised again, and compiled steps are recompiled.

    Args:
      model: variables of a Linen model with cores (compressed, or built from ``TensorTrainDense``), or an NNX model.
      rel_error: largest change of each layer's matrix, relative to its Frobenius norm.
      rank: upper limit of every rank.

    Returns:
      New variables, or a copy of the NNX model; the argument is not modified. All cores of a layer have similar root
      mean squares again (``balanced``). Calibrated ranges and chips of the compressed layers (collections ``ranges``
      and ``analog``) are removed because they belong to the old cores: calibrate and program again.

    Raises:
      InputError: if there is no compressed layer, or if one is a stack of layers (``nn.scan``).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim.codecs import round_model
      >>> from analogsim.linen import LowRankDense
      >>> layer, x = LowRankDense(16), jnp.ones((1, 64))
      >>> smaller = round_model(layer.init(jax.random.key(0), x), rank=2)
      >>> smaller["params"]["core_0"]["kernel"].shape, layer.apply(smaller, x).shape
      ((1, 64, 1, 2), (1, 16))
    """
    owner = next((front_end for front_end in front_ends() if front_end.owns_arrays(model)), None)
    if owner is None:
        raise InputError("model: must be a Linen model's variables, {'params': ...}, or an NNX model")
    result, count = owner.with_other_cores(
        model, lambda cores: balanced(rounded(cores, rel_error=rel_error, rank=rank))
    )
    if not count:
        raise InputError("model: has no compressed layer (parameters core_0, core_1, ...)")
    return result
