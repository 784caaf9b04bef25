"""Whole models as cores: the kernels of their dense layers compressed, nothing else of them touched.

A Linen model's variables are rewritten, ``<path>/kernel`` to ``<path>/core_0/kernel``, ``<path>/core_1/kernel``, ...,
and the model that comes back computes those layers core after core; an NNX model is copied with other layers in their
place. Both run digitally, train, and can be given to ``analogsim.convert``, which puts every core on tiles of its own.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from analogsim.base.call_inputs import inputs_of
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.tables import as_text, plain
from analogsim.factors.codec import Codec, CodecDoesNotFit
from analogsim.factors.contraction import check_contraction
from analogsim.factors.layout import CoreLayout
from analogsim.factors.record import Compression, compressions_table
from analogsim.factors.trains import balanced, rounded
from analogsim.hardware.rules import ROOT, Candidate, Selector, selects
from analogsim.models.bound import bind

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Compressed(ByValue):
    """What ``compress`` gives; prints as a table.

    Attributes:
      model: runs the compressed layers; to be trained, or given to ``convert``.
      variables: of a Linen model, with cores in the place of kernels; None for NNX.
      layers: what was compressed, by path.
      kept: what was not, and why, by path.
    """

    model: Any
    variables: Any
    layers: dict[str, Compression]
    kept: dict[str, str]

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
        if self.kept:
            table.caption = "\n".join(plain(f"kept: {path}, {why}") for path, why in self.kept.items())
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
    from flax import nnx

    check_contraction(contraction)
    wanted = _Wanted(codec, where, only_smaller)
    if isinstance(model, nnx.Module):
        if variables is not None:
            raise InputError("variables: an NNX model carries its own; leave them out (compress(model, codec=codec))")
        return _of_nnx(model, wanted, contraction)
    if isinstance(model, nn.Module):
        return _of_linen(model, variables, x, wanted, contraction, options)
    raise InputError(f"model = {type(model).__name__}: must be a flax.linen or flax.nnx module")


class _Wanted:
    """Which layers are compressed, and what became of each."""

    def __init__(self, codec: Codec, where: Selector | None, only_smaller: bool):
        self.codec, self.where, self.only_smaller = codec, where, only_smaller
        self.layers: dict[str, Compression] = {}
        self.kept: dict[str, str] = {}

    def cores(self, layer: Candidate, why_dense: str, matrix: Any) -> tuple[jax.Array, ...] | None:
        """The layer's cores, or None and a reason noted; ``matrix()`` is its kernel."""
        if self.where is not None and not selects(self.where, layer):
            self.kept[layer.path] = "where does not select it"
        elif why_dense:
            self.kept[layer.path] = why_dense
        else:
            try:
                kernel = matrix()
                factors, record = self.codec.compress(kernel)
            except CodecDoesNotFit as error:
                self.kept[layer.path] = str(error)
                return None
            except InputError as error:
                raise InputError(f"layer {layer.path}: {error}") from None
            if record.params < record.layout.dense or not self.only_smaller:
                cores = balanced(factors)
                self.layers[layer.path] = Compression.of(np.asarray(kernel, np.float64), cores)
                return cores
            self.kept[layer.path] = f"its cores would take {record.params} numbers, its kernel {record.layout.dense}"
        return None

    def done(self, model: Any, variables: Any) -> Compressed:
        if not self.layers:
            reasons = "; ".join(f"{path}: {why}" for path, why in self.kept.items()) or "it has no dense layer"
            raise InputError(f"compress: no layer of the model is compressed: {reasons}")
        return Compressed(model, variables, self.layers, self.kept)


def _of_linen(
    model: Any, variables: Any, x: Any, plan: _Wanted, contraction: str, options: dict[str, Any]
) -> Compressed:
    from analogsim.linen.conversion import Converted
    from analogsim.linen.factored import Encoding, why_dense

    if isinstance(model, Converted):
        raise InputError("model: is converted or compressed already; compress the plain model, then convert the result")
    if x is None:
        raise InputError("x = None: a Linen model is looked through from the shape of its input; pass x")
    variables = dict(bind(model, variables).variables)  # type: ignore[union-attr]
    params = nn.meta.unbox(variables["params"])
    layouts = []
    for layer in _linen_layers(model, variables, x, options):
        names = [] if layer.path == ROOT else layer.path.split("/")
        layer_params = params
        for name in names:
            layer_params = layer_params[name]
        why = why_dense(layer.module, layer.within)
        stored = layer_params.get("kernel", layer_params.get("embedding"))
        if not why and stored.shape != layer.shape:
            why = "it is a stack of layers (nn.scan, nn.vmap)"
        n_out = 1 if why else _n_out(layer)
        cores = plan.cores(layer, why, lambda k=stored, n=n_out: k.reshape(-1, n))
        if cores is not None:
            other_params = {name: value for name, value in layer_params.items() if name != "kernel"}
            params = _with(
                params, names, other_params | {f"core_{k}": {"kernel": core} for k, core in enumerate(cores)}
            )
            layouts.append((layer.path, CoreLayout.of(cores)))
    compressed = Converted(model, (), strict=False, encoding=Encoding(tuple(layouts), contraction))
    return plan.done(compressed, variables | {"params": params})


def _linen_layers(model: Any, variables: Any, x: Any, options: dict[str, Any]) -> list[Candidate]:
    """Every layer of a model that holds a matrix, by shapes."""
    from analogsim.layers.inventory import inventory
    from analogsim.linen.conversion import Converted

    found: dict[str, Candidate] = {}

    def note(layer: Candidate) -> bool:
        if layer.module is not None:
            found.setdefault(layer.path, layer)
        return True

    seen = Converted(model, ((note, None),), strict=False)

    def run(params: Any, inputs: Any) -> Any:
        return inputs.call(seen.apply, {**variables, "params": params}, **options)

    inputs, options = inputs_of(x, options)  # with shapes as they are: a model may take one example without a batch
    inventory(run, variables["params"], (jax.eval_shape(lambda a: a, inputs),))
    return [layer for layer in found.values() if not layer.path.endswith("attend")]


def _n_out(layer: Candidate) -> int:
    features = layer.module.features
    count = 1 if isinstance(features, int) else len(tuple(features))
    return int(jnp.prod(jnp.asarray(layer.shape[len(layer.shape) - count :])))


def _with(tree: Any, names: list[str], value: Any) -> Any:
    """The nested dictionary with another entry at a path."""
    if not names:
        return value
    return {**tree, names[0]: _with(tree[names[0]], names[1:], value)}


def _of_nnx(model: Any, plan: _Wanted, contraction: str) -> Compressed:
    from flax import nnx

    from analogsim.nnx.conversion import candidates, path_of
    from analogsim.nnx.factored import factored, kernel_matrix, why_dense

    copy = nnx.clone(model)
    cores = {}
    for layer in candidates(copy):
        if layer.path.endswith("attend"):
            continue
        module = layer.module
        layer_cores = plan.cores(layer, why_dense(module, layer.shape, layer.within), lambda m=module: kernel_matrix(m))
        if layer_cores is not None:
            cores[layer.path] = layer_cores

    def visit(parts: tuple, node: Any) -> Any:
        module_cores = cores.get(path_of(parts)) if isinstance(node, (nnx.Linear, nnx.LinearGeneral)) else None
        return node if module_cores is None else factored(node, module_cores, contraction)

    return plan.done(nnx.recursive_map(visit, copy), None)


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
    from flax import nnx

    result: Any
    if isinstance(model, nnx.Module):
        from analogsim.nnx.factored import FactoredLinear

        copy = nnx.clone(model)
        layers = [module for _, module in nnx.iter_modules(copy) if isinstance(module, FactoredLinear)]
        for layer in layers:
            _check_no_stack("of the model", layer.cores)
            layer.set_cores(balanced(rounded(layer.cores, rel_error=rel_error, rank=rank)))
            layer.forget_ranges()
        found, result = len(layers), copy
    else:
        if not hasattr(model, "items") or "params" not in model:
            raise InputError("model: must be a Linen model's variables, {'params': ...}, or a NNX model")
        by_path = dict(factored_layers(model["params"]))
        for path, cores in by_path.items():
            _check_no_stack(path, cores)
        result = {**model, "params": _rounded_tree(model["params"], rel_error, rank)}
        for name in ("ranges", "analog"):
            if name in model:
                result[name] = _without_cores(model[name], model["params"])
        found = len(by_path)
    if not found:
        raise InputError("model: has no compressed layer (parameters core_0, core_1, ...)")
    return result


def _check_no_stack(path: str, cores: Any) -> None:
    if any(core.ndim != 4 for core in cores):
        raise InputError(f"layer {path}: its cores are a stack (nn.scan, vmap); stacks of layers cannot be rounded")


def factored_layers(params: Any, path: str = "") -> Iterator[tuple[str, tuple[jax.Array, ...]]]:
    """Every layer of a Linen model's parameters that is held as cores: its path and its cores."""
    if not hasattr(params, "items"):
        return
    if (cores := _cores(params)) is not None:
        yield path or ROOT, cores
        return
    for name, inner in params.items():
        yield from factored_layers(inner, f"{path}/{name}" if path else name)


def _cores(layer_params: Any) -> tuple[jax.Array, ...] | None:
    cores: list[jax.Array] = []
    while (core := layer_params.get(f"core_{len(cores)}")) is not None and "kernel" in core:
        cores.append(nn.meta.unbox(core["kernel"]))
    return tuple(cores) if len(cores) > 0 and cores[0].ndim >= 4 else None


def _without_cores(tree: Any, params: Any) -> Any:
    """A collection beside the parameters, without what belongs to cores."""
    if not hasattr(tree, "items") or not hasattr(params, "items"):
        return tree
    gone = {f"core_{k}" for k in range(len(_cores(params) or ()))}
    kept = {name: _without_cores(inner, params.get(name)) for name, inner in tree.items() if name not in gone}
    return {name: inner for name, inner in kept.items() if not (isinstance(inner, dict) and not inner and tree[name])}


def _rounded_tree(params: Any, rel_error: float | None, rank: int | None) -> Any:
    if not hasattr(params, "items"):
        return params
    if (cores := _cores(params)) is None:
        return {name: _rounded_tree(inner, rel_error, rank) for name, inner in params.items()}
    smaller = balanced(rounded(cores, rel_error=rel_error, rank=rank))
    return {**params, **{f"core_{k}": {"kernel": core} for k, core in enumerate(smaller)}}
