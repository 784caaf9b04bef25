"""Flax Linen as a front end: a ``models.protocol.FrontEnd``."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from analogsim.base.call_inputs import Fixed, Options, Sample
from analogsim.base.errors import InputError, brief
from analogsim.base.types import PyTree
from analogsim.factors.codec import Codec
from analogsim.hardware.rules import Rules
from analogsim.layers.collections import Collections
from analogsim.layers.compression import CoreSelection
from analogsim.linen import compression
from analogsim.linen.bound import BoundLinen, merged, nested_ranges
from analogsim.linen.conversion import Converted


class LinenFrontEnd:
    """Flax Linen: models describe layers, which exist during a call only; their arrays are separate variables."""

    name = "linen"
    title = "a Linen"
    roots: tuple[str, ...] = ("variables",)
    needs_call = True

    def owns(self, model: nn.Module) -> bool:
        """Return whether this is a Linen model."""
        return isinstance(model, nn.Module)

    def owns_arrays(self, item: Any) -> bool:
        """Return whether these are variables of a Linen model."""
        return hasattr(item, "items") and "params" in item

    def bind(
        self, model: nn.Module, variables: PyTree, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundLinen:
        """Bind the model to its variables, which must contain ``params``; a chip's readings are left out."""
        if not hasattr(variables, "keys") or "params" not in variables:
            raise InputError(f"variables = {brief(variables)}: must be a Linen model's variables, {{'params': ...}}")
        arrays = {name: value for name, value in variables.items() if name != "analog"}
        return BoundLinen(arrays, Fixed(model), options, sample, rngs)

    def set_ranges(
        self, model: nn.Module, variables: PyTree, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> dict[str, Any]:
        """Return variables with these ranges merged into the collection ``ranges``; a range of None is removed."""
        del model
        new = _without_none(merged(variables.get("ranges", {}), nested_ranges(ranges)))
        return {**variables, "ranges": new if sample is None else {**new, "sample": sample}}

    def convert(
        self, model: nn.Module, rules: Rules, *, codec: Codec | None, strict: bool, rngs: Any = None, x: Any = None
    ) -> Converted:
        """Return a module that converts the model's layers while they are called; see ``analogsim.convert``."""
        if isinstance(model, Converted) and model.encoding.layers and not model.rules:
            if codec is not None:
                raise InputError("codec: the model is already compressed; leave codec out, or convert the plain model")
            return Converted(model.model, rules, strict, model.encoding)
        if isinstance(model, Converted):
            raise InputError(
                "model: is already converted; convert the plain model, with all rules in one call: "
                "convert(model, [(selector, hardware), ...])"
            )
        if rngs is not None:
            raise InputError("rngs: a Linen model takes random keys when it is applied; leave rngs out")
        if x is not None:
            raise InputError("x: a Linen model is checked when it is applied; leave x out")
        if codec is not None and codec.rel_error is not None:
            raise InputError(
                f"codec = {codec!r}: a Linen model computes cores from its kernels during the call, which requires "
                f"known ranks; give rank, max_params or max_fraction, or convert the model that "
                f"codecs.compress(model, variables, x, codec) returns"
            )
        return Converted(model, rules, strict, codec=codec)

    def to_digital(self, model: nn.Module) -> nn.Module:
        """Return the plain model of a converted one."""
        if not isinstance(model, Converted):
            raise InputError(
                f"model = {type(model).__name__}: must be a converted model; to run a Linen model with analog layers "
                f"digitally, use 'with analogsim.digital():'"
            )
        cores = model.encoding
        return Converted(model.model, (), strict=False, encoding=cores) if cores.layers else model.model

    def compress(
        self,
        model: nn.Module,
        variables: PyTree,
        x: Any,
        selection: CoreSelection,
        contraction: str,
        options: dict[str, Any],
    ) -> tuple[Converted, dict[str, Any]]:
        """Return the model that runs the selected layers as cores, and its variables."""
        if x is None and not isinstance(model, Converted):
            raise InputError("x = None: the layers of a Linen model are known from the shape of its input; pass x")
        arrays = self.bind(model, variables, None, (), {}).arrays
        return compression.compressed(model, arrays, x, selection, contraction, options)

    with_other_cores = staticmethod(compression.with_other_cores)

    def saved(self, model: nn.Module, variables: PyTree) -> Collections:
        """Return the variables, which must not contain a chip's readings, as collections of a checkpoint."""
        del model
        if "analog" in variables:
            raise InputError(
                "variables: hold a chip's readings ('analog'); pass the variables from which it was programmed and the "
                "chip itself: save(folder, model, variables, chip)"
            )
        return _collections(variables)

    def expected(self, model: nn.Module, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """Return the collections that ``model.init`` creates, as shapes."""
        assert sample is not None  # guaranteed by the caller, because of ``needs_call``
        inputs, key = sample.inputs(), jax.random.key(0)
        return _collections(jax.eval_shape(lambda key, x: x.call(model.init, key, **options), key, inputs))

    def rebuilt(self, model: nn.Module, trees: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model, and variables from these collections."""
        return model, {name.removeprefix("variables/"): tree for name, tree in trees.items()}

    def content(self, item: Any) -> list[Any] | None:
        """Return the class and fields of a module, without its place in a model; None for other objects."""
        if not isinstance(item, nn.Module):
            return None
        fields = [f.name for f in dataclasses.fields(item) if f.name not in ("parent", "scope")]
        return [type(item), *((name, getattr(item, name, None)) for name in fields)]


def _collections(variables: PyTree) -> Collections:
    return Collections(
        {f"variables/{name}": tree for name, tree in variables.items()},
        fixed=("variables/params", "variables/batch_stats"),
    )


def _without_none(ranges: PyTree) -> Any:
    if not hasattr(ranges, "items"):
        return ranges
    return {name: _without_none(inner) for name, inner in ranges.items() if inner is not None}


FRONT_END = LinenFrontEnd()
