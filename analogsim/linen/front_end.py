"""What the rest of the package asks of Linen models (``models.protocol.FrontEnd``)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from analogsim.base.call_inputs import Fixed, Options, Sample
from analogsim.base.errors import InputError, brief
from analogsim.factors.codec import Codec
from analogsim.hardware.rules import Rules
from analogsim.layers.collections import Collections
from analogsim.layers.compression import CoreSelection
from analogsim.linen import compression
from analogsim.linen.bound import BoundLinen, merged, nested_ranges
from analogsim.linen.conversion import Converted


class LinenFrontEnd:
    """Flax Linen: a model is a description, its arrays are variables beside it, and its layers exist in a call."""

    name = "linen"
    title = "a Linen"
    roots: tuple[str, ...] = ("variables",)
    needs_call = True

    def owns(self, model: Any) -> bool:
        """Whether this is a Linen model."""
        return isinstance(model, nn.Module)

    def owns_arrays(self, item: Any) -> bool:
        """Whether this is a Linen model's variables."""
        return hasattr(item, "items") and "params" in item

    def bind(
        self, model: Any, variables: Any, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundLinen:
        """The model with its variables, a chip's readings left out."""
        if not hasattr(variables, "keys") or "params" not in variables:
            raise InputError(f"variables = {brief(variables)}: must be a Linen model's variables, {{'params': ...}}")
        kept = {name: value for name, value in variables.items() if name != "analog"}
        return BoundLinen(kept, Fixed(model), options, sample, rngs)

    def set_ranges(
        self, model: Any, variables: Any, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> dict[str, Any]:
        """Other variables, with these ranges in the collection ``ranges``; what else it holds stays."""
        del model
        both = _without_none(merged(variables.get("ranges", {}), nested_ranges(ranges)))
        return {**variables, "ranges": both if sample is None else {**both, "sample": sample}}

    def convert(
        self, model: Any, rules: Rules, *, codec: Codec | None, strict: bool, rngs: Any = None, x: Any = None
    ) -> Converted:
        """A module that converts the model's layers while they are called."""
        if isinstance(model, Converted) and model.encoding.layers and not model.rules:
            if codec is not None:
                raise InputError("codec: the model is compressed already; leave codec out, or convert the plain model")
            return Converted(model.model, rules, strict, model.encoding)
        if isinstance(model, Converted):
            raise InputError(
                "model: is converted already; convert the plain model, with all rules in one call: "
                "convert(model, [(selector, hardware), ...])"
            )
        if rngs is not None:
            raise InputError("rngs: a Linen model takes its randomness when it is applied; leave rngs out")
        if x is not None:
            raise InputError("x: a Linen model is looked through when it is applied; leave x out")
        if codec is not None and codec.rel_error is not None:
            raise InputError(
                f"codec = {codec!r}: a Linen model keeps its kernels, and cores that are computed from them in the "
                f"call need ranks beforehand: give rank, max_params or max_share, or convert what "
                f"codecs.compress(model, variables, x, codec) returns"
            )
        return Converted(model, rules, strict, codec=codec)

    def to_digital(self, model: Any) -> nn.Module:
        """The plain model behind a converted one."""
        if not isinstance(model, Converted):
            raise InputError(
                f"model = {type(model).__name__}: must be a converted model; a Linen model built of analog layers runs "
                f"digitally in 'with analogsim.digital():'"
            )
        cores = model.encoding
        return Converted(model.model, (), strict=False, encoding=cores) if cores.layers else model.model

    def compress(
        self, model: Any, variables: Any, x: Any, selection: CoreSelection, contraction: str,
        options: dict[str, Any],
    ) -> tuple[Converted, dict[str, Any]]:  # fmt: skip
        """The model that runs the cores of the selected layers, and its variables."""
        if x is None and not isinstance(model, Converted):
            raise InputError("x = None: a Linen model is looked through from the shape of its input; pass x")
        arrays = self.bind(model, variables, None, (), {}).arrays
        return compression.compressed(model, arrays, x, selection, contraction, options)

    def with_other_cores(
        self, item: Any, change: Callable[[compression.Cores], compression.Cores]
    ) -> tuple[dict[str, Any], int]:
        """Variables with ``change(cores)`` in every compressed layer, and the number of these layers."""
        return compression.with_other_cores(item, change)

    def saved(self, model: Any, variables: Any) -> Collections:
        """The variables, collection by collection."""
        del model
        if "analog" in variables:
            raise InputError(
                "variables: hold a chip's readings ('analog'); pass the variables that it was programmed from and the "
                "chip itself: save(folder, model, variables, chip)"
            )
        return _collections(variables)

    def expected(self, model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """The variables that the model makes for itself, as shapes."""
        assert sample is not None  # the caller has seen to it, as ``needs_call`` says
        inputs, key = sample.inputs(), jax.random.key(0)
        return _collections(jax.eval_shape(lambda key, x: x.call(model.init, key, **options), key, inputs))

    def rebuilt(self, model: Any, trees: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """The model and variables of these collections."""
        return model, {name.removeprefix("variables/"): tree for name, tree in trees.items()}

    def content(self, item: Any) -> list[Any] | None:
        """What tells a module from others: its class and fields, not where it stands; None for other objects."""
        if not isinstance(item, nn.Module):
            return None
        fields = [f.name for f in dataclasses.fields(item) if f.name not in ("parent", "scope")]
        return [type(item), *((name, getattr(item, name, None)) for name in fields)]


def _collections(variables: Any) -> Collections:
    return Collections(
        {f"variables/{name}": tree for name, tree in variables.items()},
        fixed=("variables/params", "variables/batch_stats"),
    )


def _without_none(ranges: Any) -> Any:
    if not hasattr(ranges, "items"):
        return ranges
    return {name: _without_none(inner) for name, inner in ranges.items() if inner is not None}


FRONT_END = LinenFrontEnd()
