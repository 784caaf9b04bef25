"""Flax's two front ends behind one small interface, for everything that runs a whole model.

A bound model knows its parameters and can be programmed, run on readings, and observed. Both kinds are pytrees with
the model's structure static, so that functions of them compile once a structure.
"""

import dataclasses
import functools
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from analogsim import modes, tiles
from analogsim.devices.equality import ByValue
from analogsim.devices.errors import InputError
from analogsim.layer import LayerUse


class BoundModel(Protocol):
    """A model with its parameters."""

    def program(self, key: jax.Array, onto: Any = None) -> Any:
        """Programmed tiles of every analog layer, as a tree; ``onto`` are such tiles, to be written again."""
        ...

    def run(self, readings: Any, x: Any, key: jax.Array) -> Any:
        """Outputs for a batch on the chip that ``readings`` describe."""
        ...

    def digital(self, x: Any) -> Any:
        """Exact outputs for a batch."""
        ...


class _Static:
    """A model as static data: compared by value where it can be hashed, else (traced hardware) by identity."""

    def __init__(self, value: Any):
        self.value = value
        try:
            self._hash: int | None = hash(value)
        except TypeError:
            self._hash = None

    def __hash__(self):
        return id(self.value) if self._hash is None else self._hash

    def __eq__(self, other):
        if not isinstance(other, _Static) or (self._hash is None) != (other._hash is None):
            return False
        return self.value is other.value if self._hash is None else self.value == other.value


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sample:
    """Shapes of one call's inputs, kept beside calibrated ranges so that programming needs no data."""

    shapes: tuple[tuple[tuple[int, ...], str], ...] = dataclasses.field(metadata=dict(static=True))

    @classmethod
    def of(cls, x: Any) -> "Sample":
        """The sample of an input array, or of a tuple of arrays for a model with several inputs; batch of one."""
        args = x if isinstance(x, tuple) else (x,)
        return cls(tuple(((1, *jnp.shape(a)[1:]), str(jnp.result_type(a))) for a in args))

    def arrays(self) -> tuple[jax.Array, ...]:
        """Zeros of these shapes."""
        return tuple(jnp.zeros(shape, dtype) for shape, dtype in self.shapes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class BoundLinen(ByValue):
    """A Linen model with its variables."""

    variables: Any
    static_model: _Static = dataclasses.field(metadata=dict(static=True))
    options: tuple[tuple[str, Any], ...] = dataclasses.field(metadata=dict(static=True))
    sample: Sample | None = None

    def _apply(self, variables, x, **how):
        args = x if isinstance(x, tuple) else (x,)
        with _clear_shape_errors():
            return self.static_model.value.apply(variables, *args, **how, **dict(self.options))

    def program(self, key, onto=None):
        sample = self.sample or self.variables.get("ranges", {}).get("sample")
        if not isinstance(sample, Sample):  # a checkpoint restored without a target has none
            raise InputError(
                "x = None: a Linen model is programmed from the shape of its input; pass x (one example is enough), "
                "or variables that come from analogsim.calibrate, which remember it"
            )
        variables = self.variables if onto is None else self.variables | {"analog": onto}
        with modes.enter(modes.Programming(again=onto is not None)):
            rngs = {"analog": key, "chip": key}  # one key: nn.RNN passes on only the stream that its steps share
            _, state = self._apply(variables, sample.arrays(), rngs=rngs, mutable=["analog"])
        return state.get("analog", {}) if onto is None else _rewritten(state["analog"])

    def places(self, x: Any) -> dict[str, Any]:
        """Where calibrated ranges belong, ``{layer: ... {"analog": {"place": numbers}}}``.

        A stack of layers (``nn.scan``) has an array with one number an entry.
        """
        variables = {name: value for name, value in self.variables.items() if name != "ranges"}
        with modes.enter(modes.Placing()):
            _, state = jax.eval_shape(lambda v, a: self._apply(v, a, mutable=["ranges"]), variables, x)
        leaves, structure = jax.tree.flatten(state.get("ranges", {}))
        starts = np.cumsum([0, *(math.prod(leaf.shape) for leaf in leaves)])
        numbers = [jnp.arange(math.prod(a.shape)).reshape(a.shape) + s for a, s in zip(leaves, starts, strict=False)]
        return jax.tree.unflatten(structure, numbers)

    def with_ranges(self, ranges: dict[str, Any]) -> "BoundLinen":
        """The same with more in its ``ranges``."""
        both = merged(self.variables.get("ranges", {}), ranges)
        return dataclasses.replace(self, variables=self.variables | {"ranges": both})

    def run(self, readings, x, key):
        return self._apply(self.variables | {"analog": readings}, x, rngs={"analog": key})

    def digital(self, x):
        with modes.digital():
            return self._apply(self.variables, x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class BoundNnx(ByValue):
    """An NNX model, split into structure and arrays."""

    state: Any
    graph: Any = dataclasses.field(metadata=dict(static=True))

    def _merge(self):
        from flax import nnx

        return nnx.merge(self.graph, self.state)

    def program(self, key, onto=None):
        import analogsim.nnx

        return analogsim.nnx.program(self._merge(), key, onto)

    def run(self, readings, x, key):
        import analogsim.nnx

        model = self._merge()
        analogsim.nnx.load(model, readings, key)
        return _call(model, x)

    def digital(self, x):
        with modes.digital():
            return _call(self._merge(), x)

    def exact(self, x):
        """The model's call in the mode in force, its layers named by their paths."""
        import analogsim.nnx

        model = self._merge()
        analogsim.nnx.analog_ops(model)
        return _call(model, x)


def merged(tree: Any, other: Any) -> Any:
    """Nested dictionaries as one."""
    if not hasattr(tree, "items") or not hasattr(other, "items"):
        return other
    return {**tree, **{name: merged(tree[name], inner) if name in tree else inner for name, inner in other.items()}}


def _rewritten(tree: Any) -> Any:
    """The tree that writing again leaves, its new arrays in the place of the old ones."""
    if "rewritten" in tree:
        return {"array": tree["rewritten"]}
    return {name: _rewritten(inner) for name, inner in tree.items()}


def bind(
    model: Any, variables: Any = None, x: Any = None, options: dict[str, Any] | None = None
) -> BoundLinen | BoundNnx:
    """Either kind of Flax model, bound to its parameters.

    Args:
      model: a ``flax.linen.Module`` or a ``flax.nnx.Module``.
      variables: a Linen model's variables (``{"params": ...}``); None for NNX.
      x: an input, for a Linen model's shapes.
      options: keyword arguments of the model's call, for example ``train=False``.
    """
    from flax import linen, nnx

    if isinstance(model, linen.Module):
        if not hasattr(variables, "keys") or "params" not in variables:
            raise InputError(f"variables = {_short(variables)}: must be a Linen model's variables, {{'params': ...}}")
        kept = {name: value for name, value in variables.items() if name != "analog"}
        sample = None if x is None else Sample.of(x)
        return BoundLinen(kept, _Static(model), tuple(sorted((options or {}).items())), sample)
    if isinstance(model, nnx.Module):
        if variables is not None:
            raise InputError("variables: an NNX model carries its own; leave them out (program(model, key=key))")
        if options:
            raise InputError(
                f"{next(iter(options))}: an NNX model takes no call options here; use nnx.view(model, ...)"
            )
        graph, state = nnx.split(model)
        return BoundNnx(state, graph)
    raise InputError(f"model = {_short(model)}: must be a flax.linen or flax.nnx module")


def observe(model: Any, variables: Any, x: Any, *, places: bool = False, **options: Any) -> list[LayerUse]:
    """Run a model digitally on ``x`` and note what passes through every analog layer, in order.

    Loops and compiled blocks inside the model are unrolled, so a layer that is used many times is noted many times.

    ``places`` also notes which entry of a stack of layers (``nn.scan``) each use is of, as ``LayerUse.place``; the
    model must then pass the collection ``ranges`` on to every analog layer.

    Raises:
      InputError: if the model has no analog layer.
    """
    mode = modes.Observing()
    args = x if isinstance(x, tuple) else (x,)
    bound = bind(model, variables, options=options)
    if places:
        bound = _placed(bound, x)
    with jax.disable_jit(), modes.enter(mode):
        if isinstance(bound, BoundLinen):
            bound._apply(bound.variables, x)
        else:
            import analogsim.nnx

            copy = bound._merge()
            analogsim.nnx.analog_ops(copy)  # the hooks learn their paths
            _call(copy, args)
    uses = mode.uses
    if not uses:
        raise InputError("the model has no analog layer: build it with AnalogDense, or convert(model, hardware)")
    return uses


def _placed(bound: BoundLinen | BoundNnx, x: Any) -> BoundLinen | BoundNnx:
    """The bound model with numbered entries in its ranges."""
    if isinstance(bound, BoundLinen):
        return bound.with_ranges(bound.places(x))
    from flax import nnx

    import analogsim.nnx

    copy = bound._merge()
    analogsim.nnx.mark_places(copy)
    graph, state = nnx.split(copy)
    return BoundNnx(state, graph)


def _call(model, x):
    return model(*x) if isinstance(x, tuple) else model(x)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{type(value).__name__}"


class _clear_shape_errors:
    """Turns Flax's error about parameter shapes into one sentence about the input."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        from flax.errors import ScopeParamShapeError

        if isinstance(error, ScopeParamShapeError):
            first = str(error).partition(" (http")[0].rstrip(". ")
            raise InputError(f"the input's width does not fit the model's parameters: {first}") from None
        return False


#: Programming compiled once for each model structure and input shape.
program_jit = jax.jit(lambda bound, key, onto=None: bound.program(key, onto))
program_many_jit = jax.jit(lambda bound, keys, onto=None: jax.vmap(bound.program)(keys, onto))


def programmed_leaves(tree: Any) -> list[tuple[str, tiles.Programmed]]:
    """Every programmed array in a tree, with the path of its layer."""
    return leaves_of(tiles.Programmed, tree)


def leaves_of(kind: type, tree: Any) -> list[tuple[str, Any]]:
    """Every node of a kind in a tree, with the path of its layer."""
    found = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, kind))[0]
    return [(_layer_path(path), leaf) for path, leaf in found]


def _layer_path(path: tuple) -> str:
    names = [str(getattr(p, "key", p)) for p in path]
    # Linen keeps the array two levels below its layer: Dense_0/analog/array.
    return "/".join(names[:-2] if names[-2:] == ["analog", "array"] else names) or "(the model itself)"


map_programmed = functools.partial(jax.tree.map, is_leaf=lambda n: isinstance(n, tiles.Programmed))
