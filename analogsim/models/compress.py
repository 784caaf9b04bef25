"""Whole models as cores: the kernels of their dense layers compressed, nothing else of them touched.

A Linen model's variables are rewritten, ``<path>/kernel`` to ``<path>/core_0/kernel``, ``<path>/core_1/kernel``, ...,
and the model that comes back computes those layers core after core; an NNX model is copied with other layers in their
place. Both run digitally, train, and can be given to ``analogsim.convert``, which puts every core on tiles of its own.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from analogsim.base.call_inputs import inputs_of
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.tables import as_text, plain
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
    """What ``compress`` gives; prints as a table.

    Attributes:
      model: runs the compressed layers; to be trained, or given to ``convert``.
      variables: of a Linen model, with cores in the place of kernels; None for NNX.
      layers: what was compressed, by path.
      uncompressed: what was not, and why, by path.
    """

    model: Any
    variables: Any
    layers: dict[str, Compression]
    uncompressed: dict[str, str]

    @property
    def params(self) -> int:
        """Numbers in the compressed layers' cores."""
        return sum(one.params for one in self.layers.values())

    @property
    def ratio(self) -> float:
        """How many times fewer they are than their kernels'."""
        return sum(one.layout.dense for one in self.layers.values()) / max(self.params, 1)

    def table(self) -> "rich.table.Table":
        """A row a layer; below, what was kept."""
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
    variables: Any = None,
    x: Any = None,
    codec: Codec | None = None,
    where: Selector | None = None,
    *,
    only_smaller: bool = True,
    contraction: str = "auto",
    **options: Any,
) -> Compressed:
    """A model whose dense layers' kernels are cores.

    Args:
      model, variables: a plain Linen model and its variables, or an NNX model and None. Neither is changed.
      x: one call's inputs of a Linen model (``analogsim.Inputs``), of which only the shape is used.
      codec: ``TensorTrain`` or ``LowRank`` with a target, which holds for every layer by itself. A layer that it does
        not fit (modes of another size, a budget below rank 1) stays dense, with the reason in ``kept``.
      where: which layers, as for ``analogsim.convert``; all Dense and DenseGeneral (Linear and LinearGeneral), those of
        attention among them, by default.
      only_smaller: keep a layer dense where its cores would take as many numbers or more.
      contraction: of layers that run digitally: ``"factored"``, ``"dense"``, or ``"auto"`` for what takes fewer
        multiply-accumulates.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      The model that runs the cores, its variables, and a record of every layer. All cores of a layer have like root
      mean squares (``balanced``), so that one learning rate fits them.

    Raises:
      InputError: where nothing is compressed, with the reasons; where a kernel holds NaN or infinity.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from analogsim import convert, preset
      >>> from analogsim.codecs import TensorTrain, compress
      >>> plain, x = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(3)]), jnp.ones((1, 64))
      >>> found = compress(plain, plain.init(jax.random.key(0), x), x, TensorTrain(rank=4), where="layers_0")
      >>> sorted(found.variables["params"]["layers_0"])
      ['bias', 'core_0', 'core_1', 'core_2']
      >>> convert(found.model, preset("ideal")).apply(found.variables, x).shape
      (1, 3)
    """
    if not isinstance(codec, Codec):
        raise InputError(f"codec = {codec!r}: must be a codec such as codecs.TensorTrain(rel_error=0.1)")
    check_contraction(contraction)
    if x is not None:
        x, options = inputs_of(x, options)
    selection = CoreSelection(codec, where, only_smaller)
    smaller, arrays = front_end_of(model).compress(model, variables, x, selection, contraction, options)
    selection.check()
    return Compressed(smaller, arrays, selection.layers, selection.uncompressed)


def round_model(model: Any, *, rel_error: float | None = None, rank: int | None = None) -> Any:
    """Lower the ranks of every compressed layer of a model; see ``codecs.rounded``.

    Between steps of an optimiser it finds the ranks that training needs. Shapes change with the ranks, so that the
    optimiser is to be initialised again, and compiled steps compile again.

    Args:
      model: a Linen model's variables (of a compressed model, or of one built of ``TensorTrainDense``), or a NNX model.
      rel_error: how far each layer's matrix may move, relative to its Frobenius norm.
      rank: cap of every rank.

    Returns:
      Other variables, or a copy of the NNX model; nothing given is changed. All cores of a layer have like root mean
      squares again (``balanced``). What belonged to the old cores, their calibrated ranges and chips (collections
      ``ranges`` and ``analog``), is left out for every compressed layer: calibrate and program again.

    Raises:
      InputError: where there is no compressed layer, or it is a stack of layers (``nn.scan``).

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
        raise InputError("model: must be a Linen model's variables, {'params': ...}, or a NNX model")
    result, count = owner.with_other_cores(
        model, lambda cores: balanced(rounded(cores, rel_error=rel_error, rank=rank))
    )
    if not count:
        raise InputError("model: has no compressed layer (parameters core_0, core_1, ...)")
    return result
