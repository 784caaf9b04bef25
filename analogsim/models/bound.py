"""Flax's two front ends behind one small interface, for everything that runs a whole model.

A bound model knows its parameters and can be programmed, run on readings, and observed. Both kinds are pytrees with
the model's structure static, so that functions of them compile once a structure.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.call_inputs import Fixed, as_inputs, inputs_of
from analogsim.base.call_inputs import Sample as Sample
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError, brief
from analogsim.base.random import check_one_key
from analogsim.layers import modes
from analogsim.layers.layer import LayerUse
from analogsim.signal_path.programmed import ProgrammedTiles

#: Keyword arguments of a model's call that hold no array, static.
Options = tuple[tuple[str, Fixed], ...]


class BoundModel(Protocol):
    """A model with its parameters."""

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Programmed tiles of every analog layer, as a tree; ``reprogram`` are such tiles, to be written again."""
        ...

    def run(self, readings: Any, x: Any, key: jax.Array) -> Any:
        """Outputs for a batch on the chip that ``readings`` describe."""
        ...

    def digital(self, x: Any, key: Any = None) -> Any:
        """Exact outputs for a batch; ``key`` tells one example's random streams from another's."""
        ...

    def observed(self, x: Any) -> list[LayerUse]:
        """What passes through every analog layer of the exact model, in order."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundLinen(ByValue):
    """A Linen model with its variables."""

    variables: Any
    static_model: Fixed = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(metadata=dict(static=True))
    sample: Sample | None = None
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

    def _apply(self, variables, x, key=None, rngs=None, **how):
        streams = _for_example(self.rngs, key) | (rngs or {})
        how |= _keywords(self.options) | {"rngs": streams or None}
        with _clear_errors():
            return as_inputs(x).call(self.static_model.value.apply, variables, **how)

    def program(self, key, reprogram=None):
        sample = self.sample or self.variables.get("ranges", {}).get("sample")
        if not isinstance(sample, Sample):  # a checkpoint restored without a target has none
            raise InputError(
                "x = None: a Linen model is programmed from the shape of its input; pass x (one example is enough), "
                "or variables that come from analogsim.calibrate, which remember it"
            )
        variables = self.variables if reprogram is None else self.variables | {"analog": reprogram}
        with modes.enter(modes.ProgrammingMode(again=reprogram is not None)):
            rngs = {"analog": key, "chip": key}  # one key: nn.RNN passes on only the stream that its steps share
            _, state = self._apply(variables, sample.inputs(), rngs=rngs, mutable=["analog"])
        return state.get("analog", {}) if reprogram is None else _rewritten(state["analog"])

    def places(self, x: Any) -> dict[str, Any]:
        """Where calibrated ranges belong, ``{layer: ... {"analog": {"place": numbers}}}``.

        A stack of layers (``nn.scan``) has an array with one number an entry.
        """
        variables = {name: value for name, value in self.variables.items() if name != "ranges"}
        with modes.enter(modes.PlacingMode()):
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
        return self._apply(self.variables | {"analog": readings}, x, key, rngs={"analog": key})

    def digital(self, x, key=None):
        with modes.digital():
            return self._apply(self.variables, x, key)

    def observed(self, x):
        mode = modes.ObservingMode()
        with jax.disable_jit(), modes.enter(mode):
            self._apply(self.variables, x)
        return mode.uses


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BoundNnx(ByValue):
    """An NNX model, split into structure and arrays."""

    state: Any
    graph: Any = dataclasses.field(metadata=dict(static=True))
    options: Options = dataclasses.field(default=(), metadata=dict(static=True))
    rngs: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    sample: Sample | None = None

    def _merge(self):
        from flax import nnx

        return nnx.merge(self.graph, self.state, copy=True)  # of the trace that it is merged in, a loop's or a map's

    def _call(self, model, x, key=None):
        from analogsim.nnx.streams import Inference, restart

        restart(model, self.rngs, key)
        seen = Inference(model, self.rngs)
        outputs = as_inputs(x).call(model, **_keywords(self.options))
        seen.check()
        return outputs

    def program(self, key, reprogram=None):
        import analogsim.nnx

        sample = self.sample
        if sample is None:
            return analogsim.nnx.program(self._merge(), key, reprogram)
        # Called as it is, in training mode or not: what it changes is a copy's.
        call = lambda model: sample.inputs().call(model, **_keywords(self.options))  # noqa: E731
        return analogsim.nnx.program(self._merge(), key, reprogram, call)

    def run(self, readings, x, key):
        import analogsim.nnx

        model = self._merge()
        analogsim.nnx.load(model, readings, key)
        return self._call(model, x, key)

    def digital(self, x, key=None):
        with modes.digital():
            return self._call(self._merge(), x, key)

    def observed(self, x):
        mode = modes.ObservingMode()
        with jax.disable_jit(), modes.enter(mode):
            self.exact(x)
        return mode.uses

    def exact(self, x):
        """The model's call in the mode in force, its layers named by their paths."""
        import analogsim.nnx

        model = self._merge()
        analogsim.nnx.analog_ops(model)  # the hooks learn their paths
        return self._call(model, x)


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
      x: an input, for the shapes that programming runs the model with.
      options: keyword arguments of the model's call that hold no array, for example ``train=False``, and ``rngs``: keys
        of the random streams that the model draws from while it is run (``{"dropout": key}``).
    """
    from flax import linen, nnx

    options = dict(options or {})
    rngs = _checked_rngs(options.pop("rngs", None))
    held = tuple((name, Fixed(value)) for name, value in sorted(options.items()))
    if isinstance(model, linen.Module):
        if not hasattr(variables, "keys") or "params" not in variables:
            raise InputError(f"variables = {brief(variables)}: must be a Linen model's variables, {{'params': ...}}")
        kept = {name: value for name, value in variables.items() if name != "analog"}
        sample = None if x is None else Sample.of(x)
        return BoundLinen(kept, Fixed(model), held, sample, rngs)
    if isinstance(model, nnx.Module):
        if variables is not None:
            raise InputError("variables: an NNX model carries its own; leave them out (program(model, key=key))")
        graph, state = nnx.split(model)
        return BoundNnx(state, graph, held, rngs, None if x is None else Sample.of(x))
    raise InputError(f"model = {brief(model)}: must be a flax.linen or flax.nnx module")


def observe(model: Any, variables: Any, x: Any, *, places: bool = False, **options: Any) -> list[LayerUse]:
    """Run a model digitally on ``x`` and note what passes through every analog layer, in order.

    Loops and compiled blocks inside the model are unrolled, so a layer that is used many times is noted many times.

    ``places`` also notes which entry of a stack of layers (``nn.scan``) each use is of, as ``LayerUse.place``; the
    model must then pass the collection ``ranges`` on to every analog layer.

    Raises:
      InputError: if the model has no analog layer.
    """
    x, options = inputs_of(x, options)
    bound = bind(model, variables, options=options)
    uses = (_placed(bound, x) if places else bound).observed(x)
    if not uses:
        raise InputError(NO_ANALOG_LAYER)
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
    return dataclasses.replace(bound, state=state, graph=graph)


def _checked_rngs(rngs: Any) -> dict[str, jax.Array]:
    """The keys of a model's own random streams by name."""
    if rngs is None:
        return {}
    if not isinstance(rngs, Mapping) or not all(isinstance(name, str) for name in rngs):
        raise InputError(
            f"rngs = {brief(rngs)}: must be a dictionary of keys by name, {{'dropout': jax.random.key(0)}}"
        )
    for name, key in rngs.items():
        check_one_key(key, f"rngs['{name}']")
        if name in ("analog", "chip"):
            raise InputError(f"rngs: '{name}' follows from key; give the model's own streams only, such as 'dropout'")
    return dict(rngs)


def _for_example(rngs: dict[str, jax.Array], key: Any) -> dict[str, jax.Array]:
    """The streams of one example, chip and time, told apart by the key of its noise."""
    if key is None or not rngs:
        return rngs
    own = jax.random.bits(key, (), jnp.uint32)
    return {name: jax.random.fold_in(base, own) for name, base in rngs.items()}


def _keywords(options: Options) -> dict[str, Any]:
    return {name: value.value for name, value in options}


class _clear_errors:
    """Turns Flax's errors about parameter shapes, and about a model called as in training, into one sentence."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        from flax.errors import InvalidRngError, ModifyScopeVariableError, ScopeParamShapeError

        first = str(error).partition(" (http")[0].rstrip(". ")
        if isinstance(error, ScopeParamShapeError):
            raise InputError(f"the input's width does not fit the model's parameters: {first}") from None
        if isinstance(error, InvalidRngError):
            raise InputError(
                f"the model draws random numbers: {first}; call it without (train=False, deterministic=True), or give "
                f"the stream a key, rngs={{'dropout': key}}"
            ) from None
        if isinstance(error, ModifyScopeVariableError):
            raise InputError(
                f"the model is called as in training: {first}; give the option that it runs with, such as train=False"
            ) from None
        return False


#: Programming compiled once for each model structure and input shape.
program_jit = jax.jit(lambda bound, key, reprogram=None: bound.program(key, reprogram))
program_many_jit = jax.jit(lambda bound, keys, reprogram=None: jax.vmap(bound.program)(keys, reprogram))


def programmed_leaves(tree: Any) -> list[tuple[str, ProgrammedTiles]]:
    """Every programmed array in a tree, with the path of its layer."""
    return leaves_of(ProgrammedTiles, tree)


def leaves_of(kind: type, tree: Any) -> list[tuple[str, Any]]:
    """Every node of a kind in a tree, with the path of its layer."""
    found = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, kind))[0]
    return [(_layer_path(path), leaf) for path, leaf in found]


def _layer_path(path: tuple) -> str:
    names = [str(getattr(p, "key", p)) for p in path]
    # Linen keeps the array two levels below its layer: Dense_0/analog/array.
    return "/".join(names[:-2] if names[-2:] == ["analog", "array"] else names) or "(the model itself)"


map_programmed = functools.partial(jax.tree.map, is_leaf=lambda n: isinstance(n, ProgrammedTiles))
