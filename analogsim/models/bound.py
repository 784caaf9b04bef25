"""A model bound to its arrays, and the one place that tells the front ends apart."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from analogsim.base.call_inputs import Sample as Sample
from analogsim.base.call_inputs import fixed_options, inputs_of
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError, brief
from analogsim.base.random import check_one_key
from analogsim.layers.layer import LayerUse
from analogsim.models.protocol import BoundModel, FrontEnd
from analogsim.signal_path.programmed import ProgrammedTiles


def front_ends() -> Iterator[FrontEnd]:
    """Every front end; each loads when it is asked for, so that a Linen model does without NNX."""
    from analogsim.linen import front_end as linen

    yield linen.FRONT_END
    from analogsim.nnx import front_end as nnx

    yield nnx.FRONT_END


def front_end_of(model: Any) -> FrontEnd:
    """The front end that a model is of.

    Raises:
      InputError: for anything but a model.
    """
    for front_end in front_ends():
        if front_end.owns(model):
            return front_end
    raise InputError(f"model = {type(model).__name__}: must be a flax.linen or flax.nnx module")


def content_of(item: Any) -> list[Any] | None:
    """What tells a model, or a part of one, from others of its kind; None for other objects."""
    return next((parts for front_end in front_ends() if (parts := front_end.content(item)) is not None), None)


def bind(model: Any, variables: Any = None, x: Any = None, options: dict[str, Any] | None = None) -> BoundModel:
    """A model of either kind with its arrays.

    Args:
      model: a ``flax.linen.Module`` or a ``flax.nnx.Module``.
      variables: a Linen model's variables (``{"params": ...}``); None for NNX.
      x: an input, for the shapes that programming runs the model with; or the ``Sample`` of one.
      options: keyword arguments of the model's call that hold no array, for example ``train=False``, and ``rngs``: keys
        of the random streams that the model draws from while it is run (``{"dropout": key}``).
    """
    options = dict(options or {})
    rngs = _checked_rngs(options.pop("rngs", None))
    sample = x if x is None or isinstance(x, Sample) else Sample.of(x)
    return front_end_of(model).bind(model, variables, sample, fixed_options(options), rngs)


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
    uses = bound.observed(x, places)
    if not uses:
        raise InputError(NO_ANALOG_LAYER)
    return uses


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
