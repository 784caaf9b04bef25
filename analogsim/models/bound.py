"""Bind a model to its arrays; the only module that distinguishes the front ends."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from analogsim.base.call_inputs import Sample as Sample
from analogsim.base.call_inputs import fixed_options, inputs_of
from analogsim.base.checks import NO_ANALOG_LAYER
from analogsim.base.errors import InputError, brief
from analogsim.base.random import check_one_key
from analogsim.base.types import PyTree
from analogsim.layers.layer import LayerUse
from analogsim.models.protocol import BoundModel, FrontEnd
from analogsim.signal_path.programmed import ProgrammedTiles


def front_ends() -> Iterator[FrontEnd]:
    """Yield every front end; each is imported only when reached, so that Linen models do not import NNX."""
    from analogsim.linen import front_end as linen

    yield linen.FRONT_END
    from analogsim.nnx import front_end as nnx

    yield nnx.FRONT_END


def front_end_of(model: Any) -> FrontEnd:
    """Return the front end of a model.

    Raises:
      InputError: if the object is not a Flax model.
    """
    for front_end in front_ends():
        if front_end.owns(model):
            return front_end
    raise InputError(f"model = {type(model).__name__}: must be a flax.linen or flax.nnx module")


def content_of(item: Any) -> list[Any] | None:
    """Return the parts whose values identify a model or a part of one; None for other objects."""
    return next((parts for front_end in front_ends() if (parts := front_end.content(item)) is not None), None)


def bind(model: Any, variables: PyTree = None, x: Any = None, options: dict[str, Any] | None = None) -> BoundModel:
    """Bind a model to its arrays, as a pytree.

    Args:
      model: a ``flax.linen.Module`` or a ``flax.nnx.Module``.
      variables: a Linen model's variables (``{"params": ...}``); None for NNX.
      x: inputs (``analogsim.Inputs``) of which only the shapes are used, to run the model when programming; or a
        ``Sample``.
      options: keyword arguments of the model's call that hold no array, for example ``train=False``, and ``rngs``: keys
        of the model's random streams (``{"dropout": key}``).

    Returns:
      The bound model.

    Raises:
      InputError: if the object is not a Flax model, or ``variables`` or ``rngs`` do not fit.

    Example:
      >>> import flax.linen as nn, jax.numpy as jnp
      >>> model, x = nn.Dense(3), jnp.ones((2, 4))
      >>> bound = bind(model, model.init(jax.random.key(0), x))
      >>> jax.jit(lambda bound, x: bound.call(x))(bound, x).shape
      (2, 3)
    """
    options = dict(options or {})
    rngs = _checked_rngs(options.pop("rngs", None))
    sample = x if x is None or isinstance(x, Sample) else Sample.of(x)
    return front_end_of(model).bind(model, variables, sample, fixed_options(options), rngs)


def observe(model: Any, variables: PyTree, x: Any, *, places: bool = False, **options: Any) -> list[LayerUse]:
    """Run the digital model and record the inputs and kernel of every use of an analog layer.

    Loops and compiled blocks inside the model are unrolled, so a layer that runs several times is recorded several
    times.

    Args:
      model, variables: a Linen model and its variables, or an NNX model and None.
      x: a batch of inputs (``analogsim.Inputs``), ``[n, ...]`` each.
      places: whether to record also, as ``LayerUse.place``, which entry of a stack of layers (``nn.scan``) each use
        belongs to; the model must then pass the collection ``ranges`` on to every analog layer.
      **options: keyword arguments of the model's call, for example ``train=False``.

    Returns:
      one ``LayerUse`` per use and matrix, in order.

    Raises:
      InputError: if the model has no analog layer.

    Example:
      >>> import flax.linen as nn, jax.numpy as jnp
      >>> from analogsim import convert, preset
      >>> model, x = convert(nn.Sequential([nn.Dense(3)]), preset("ideal")), jnp.ones((2, 4))
      >>> (use,) = observe(model, model.init(jax.random.key(0), x), x)
      >>> use.path, use.x.shape, use.weights.shape
      ('layers_0', (2, 4), (4, 3))
    """
    x, options = inputs_of(x, options)
    bound = bind(model, variables, options=options)
    uses = bound.observed(x, places)
    if not uses:
        raise InputError(NO_ANALOG_LAYER)
    return uses


def _checked_rngs(rngs: Any) -> dict[str, jax.Array]:
    """Return validated keys of the model's random streams."""
    if rngs is None:
        return {}
    if not isinstance(rngs, Mapping) or not all(isinstance(name, str) for name in rngs):
        raise InputError(
            f"rngs = {brief(rngs)}: must be a dictionary of keys by name, {{'dropout': jax.random.key(0)}}"
        )
    for name, key in rngs.items():
        check_one_key(key, f"rngs['{name}']")
        if name in ("analog", "chip"):
            raise InputError(f"rngs: '{name}' follows from key; pass only the model's streams, such as 'dropout'")
    return dict(rngs)


#: ``BoundModel.program`` for one key, and for an array of keys. Module-level, so that all calls share one jit cache.
program_jit = jax.jit(lambda bound, key, reprogram=None: bound.program(key, reprogram))
program_many_jit = jax.jit(lambda bound, keys, reprogram=None: jax.vmap(bound.program)(keys, reprogram))


def programmed_leaves(tree: PyTree) -> list[tuple[str, ProgrammedTiles]]:
    """Return all programmed tiles of a pytree, with the paths of their layers."""
    return leaves_of(ProgrammedTiles, tree)


def leaves_of(kind: type, tree: PyTree) -> list[tuple[str, Any]]:
    """Flatten a pytree into leaves with the paths of their layers; objects of class ``kind`` are leaves."""
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, kind))[0]
    return [(_layer_path(path), leaf) for path, leaf in leaves]


def _layer_path(path: tuple) -> str:
    names = [str(getattr(p, "key", p)) for p in path]
    # In a Linen model the array is two levels below its layer: Dense_0/analog/array.
    return "/".join(names[:-2] if names[-2:] == ["analog", "array"] else names) or "(the model itself)"


#: ``jax.tree.map`` over the ``ProgrammedTiles`` of a pytree.
map_programmed = functools.partial(jax.tree.map, is_leaf=lambda n: isinstance(n, ProgrammedTiles))
