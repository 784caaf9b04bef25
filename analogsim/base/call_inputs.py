"""The inputs of one call of a model: any pytree of arrays, positional or by keyword.

    program(model, variables, key, x)                          one input
    program(model, variables, key, (x, y))                     two: model(x, y)
    program(model, variables, key, {"ids": ids, "types": t})   one input, a dictionary
    program(model, variables, key, x, mask=mask, train=False)  an input by keyword, and an option
    program(model, variables, key, Inputs(x, mask=mask))       the same, if ``program`` has such a keyword itself
    evaluate(model, variables, x, labels, mask=Shared(mask))   an array shared by all examples

A tuple is several inputs; any other container of arrays (dictionary, named tuple, dataclass) is one. A list of numbers
is converted to an array. The leading axis of every array is the examples axis, of the same length in all, unless the
array is ``Shared``, which is passed unsplit. Keywords without arrays are static options of the call and are passed
unchanged; so are numbers, strings and None among the inputs. The option ``rngs={"dropout": key}`` sets the random
streams of a model that is random when it runs.
"""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.types import PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shared:
    """An input (array or pytree of arrays) without an examples axis, shared by all examples and passed unsplit.

    A causal mask, for example, or a table of positions.

    Example:
      >>> mask = Shared(jnp.tril(jnp.ones((3, 3), bool)))
      >>> inputs_of(jnp.ones((5, 3)), {"mask": mask})[0].call(lambda x, mask: (x.shape, mask.shape))
      ((5, 3), (3, 3))
    """

    value: Any


@jax.tree_util.register_static
class Fixed:
    """A static value that is not an array; compared by value if hashable, else by identity."""

    def __init__(self, value: Any):
        self.value = value
        try:
            self._hash: int | None = hash(value)
        except TypeError:
            self._hash = None

    def __hash__(self):
        return id(self.value) if self._hash is None else self._hash

    def __eq__(self, other):
        if not isinstance(other, Fixed) or (self._hash is None) != (other._hash is None):
            return False
        if self._hash is None:
            return self.value is other.value
        # Also by type: 1, 1.0 and True are equal, but mean different things to a model.
        return type(self.value) is type(other.value) and self.value == other.value

    def __repr__(self):
        return f"Fixed({self.value!r})"


#: Static keyword arguments of a model's call, none of which holds an array.
Options = tuple[tuple[str, Fixed], ...]


def fixed_options(options: Mapping[str, Any]) -> Options:
    """Convert static keyword arguments of a call to a form that can be part of a compilation key."""
    return tuple((name, Fixed(value)) for name, value in sorted(options.items()))


def keywords(options: Options) -> dict[str, Any]:
    """Convert the result of ``fixed_options`` back to keyword arguments."""
    return {name: value.value for name, value in options}


@jax.tree_util.register_pytree_with_keys_class
class Inputs:
    """The inputs of one call, ``model(*args, **kwargs)``, accepted wherever ``x`` is. A pytree.

    Args:
      *args, **kwargs: arrays, pytrees of arrays, or ``Shared``; ``[n, ...]`` unless shared.

    Example:
      >>> x = Inputs(jnp.ones((5, 4)), mask=jnp.ones((5, 4), bool))
      >>> x.call(lambda a, mask: jnp.where(mask, a, 0).sum().item())
      20.0
    """

    def __init__(self, /, *args: Any, **kwargs: Any):
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        return f"Inputs({', '.join([*map(repr, self.args), *(f'{n}={v!r}' for n, v in self.kwargs.items())])})"

    def tree_flatten_with_keys(self):
        """Flatten for JAX."""
        names = (jax.tree_util.GetAttrKey("args"), jax.tree_util.GetAttrKey("kwargs"))
        return tuple(zip(names, (self.args, self.kwargs), strict=True)), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> "Inputs":
        """Unflatten for JAX."""
        inputs = object.__new__(cls)
        inputs.args, inputs.kwargs = children
        return inputs

    def call(self, function: Callable[..., Any], *first: Any, **options: Any) -> Any:
        """Return ``function(*first, *args, **kwargs, **options)``, with shared and fixed inputs unwrapped."""
        args, kwargs = _plain((self.args, self.kwargs))
        return function(*first, *args, **kwargs, **options)

    @property
    def given(self) -> Any:
        """The inputs as a user passes them: an array, a tuple if several, ``Inputs`` if there are keywords."""
        if self.kwargs:
            return self
        args = _plain(self.args)
        return args[0] if len(args) == 1 and not _is_several(args[0]) else args


def _plain(tree: PyTree) -> Any:
    return jax.tree.map(lambda a: a.value if isinstance(a, (Shared, Fixed)) else a, tree, is_leaf=_is_wrapped)


def _is_wrapped(node: Any) -> bool:
    return isinstance(node, (Shared, Fixed))


def _is_several(x: Any) -> bool:
    return isinstance(x, tuple) and not hasattr(x, "_fields")


def inputs_of(x: Any, options: Mapping[str, Any] | None = None) -> tuple[Inputs, dict[str, Any]]:
    """Split a call's arguments into inputs and static options.

    Args:
      x: an array, a tuple of inputs, ``Inputs``, or any other pytree.
      options: keyword arguments of the model's call.

    Returns:
      the inputs, including keywords with arrays, and the options, the keywords without.

    Raises:
      InputError: for an input that is not an array of numbers, or a keyword that is given twice.

    Example:
      >>> x, options = inputs_of(jnp.ones((2, 4)), {"mask": jnp.ones((2, 4)), "train": False})
      >>> sorted(x.kwargs), options
      (['mask'], {'train': False})
    """
    options = dict(options or {})  # rngs holds keys of random streams, which are not inputs
    by_name = {name: options.pop(name) for name in list(options) if name != "rngs" and _holds_arrays(options[name])}
    inputs = as_inputs(x)
    twice = inputs.kwargs.keys() & (by_name.keys() | options.keys())
    if twice:
        raise InputError(f"{min(twice)}: is given twice, in Inputs and as a keyword")
    more = {name: _arrays(value, name, True) for name, value in by_name.items()}
    return Inputs(*inputs.args, **inputs.kwargs, **more), options


def as_inputs(x: Any) -> Inputs:
    """Convert ``x`` to ``Inputs``, as ``inputs_of`` does without keywords."""
    if isinstance(x, Inputs):
        args = tuple(_arrays(a, "x" if len(x.args) == 1 else f"x[{i}]", True) for i, a in enumerate(x.args))
        return Inputs(*args, **{name: _arrays(a, name, True) for name, a in x.kwargs.items()})
    if _is_several(x):
        return Inputs(*(_arrays(a, f"x[{i}]", True) for i, a in enumerate(x)))
    if isinstance(x, list) and not _is_written_out(x):
        raise InputError(
            "x = list: must be an array, a tuple of inputs, or Inputs; give a list that is one input as Inputs([a, b])"
        )
    return Inputs(_arrays(x, "x", False))


def no_arrays(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the options; raises an error for arrays, for callers that cannot split them by examples."""
    for name, value in (options or {}).items():
        if name != "rngs" and _holds_arrays(value):
            raise InputError(f"{name}: holds an array; pass it together with x, as Inputs(x, {name}=...)")
    return dict(options or {})


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(a, Shared) or _is_array(a) for a in jax.tree.leaves(value, is_leaf=_is_wrapped))


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, jax.Array, jax.ShapeDtypeStruct))


def _is_written_out(value: Any) -> bool:
    """Return whether a value is a list of numbers, or of such lists or tuples."""
    leaves = jax.tree.leaves(value)
    return isinstance(value, list) and bool(leaves) and all(isinstance(a, (numbers.Number, np.generic)) for a in leaves)


def _arrays(tree: PyTree, where: str, inner: bool) -> Any:
    """Convert arrays of a pytree to JAX arrays, and wrap the rest in ``Fixed``; ``inner`` allows a bare non-array."""

    def convert(path: tuple, leaf: Any) -> Any:
        name = where + jax.tree_util.keystr(path)
        if isinstance(leaf, Fixed):
            return leaf
        if isinstance(leaf, Shared):
            return Shared(jax.tree.map(lambda a: array(a, name), leaf.value, is_leaf=_is_written_out))
        if _is_written_out(leaf) or _is_array(leaf):
            return array(leaf, name)
        # A number that is the whole of x is data without an examples axis, refused later; beside other inputs it
        # is an option of the model.
        if isinstance(leaf, (numbers.Number, np.generic, str)) and (inner or path):
            return Fixed(leaf)
        return array(leaf, name)

    return jax.tree_util.tree_map_with_path(convert, tree, is_leaf=lambda n: _is_wrapped(n) or _is_written_out(n))


def array(value: Any, name: str) -> Any:
    """Convert one input to a JAX array of the same dtype; a ``ShapeDtypeStruct`` is returned unchanged."""
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return value
    try:
        numbers_in = np.asarray(value)
    except (TypeError, ValueError):
        numbers_in = np.asarray(None)
    if numbers_in.dtype != bool and not jnp.issubdtype(numbers_in.dtype, np.number):
        raise InputError(f"{name} = {type(value).__name__}: must be an array of numbers, or a pytree of arrays")
    return jnp.asarray(numbers_in)


def input_name(path: tuple, count: int, of_args: str = "x") -> str:
    """Return an array's name for messages, ``x``, ``x[1]``, ``x['ids']`` or ``mask``.

    Args:
      path: path of the array in ``Inputs``.
      count: number of positional inputs; a single one has no index.
      of_args: name of the positional inputs.
    """
    kind, which, *rest = path
    # ``Shared`` adds a level "value" to the path, which the user's container does not have.
    shown = jax.tree_util.keystr(tuple(p for p in rest if p != jax.tree_util.GetAttrKey("value")))
    if kind == jax.tree_util.GetAttrKey("kwargs"):
        return f"{which.key}{shown}"
    return f"{of_args}{shown}" if count == 1 else f"{of_args}[{which.idx}]{shown}"


def map_examples(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """Apply ``function`` to every array with an examples axis; shared inputs are taken from ``x`` unchanged."""
    same = lambda a, *more: a if isinstance(a, Shared) else function(a, *more)  # noqa: E731
    return jax.tree.map(same, x, *others, is_leaf=lambda n: isinstance(n, Shared))


def first_examples(x: Any, n: int) -> Any:
    """Return the first ``n`` examples, without a compiled slice for every shape where the host can cut them."""

    def first(a: Any) -> Any:
        if len(a) <= n:
            return a
        on_host = isinstance(a, jax.Array) and not isinstance(a, jax.core.Tracer) and not a.committed
        return jax.device_put(np.asarray(a)[:n]) if on_host else a[:n]

    return map_examples(first, x)


def apart(x: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return the arrays with an examples axis, and a function that puts such arrays back into the inputs."""
    leaves, structure = jax.tree.flatten(x, is_leaf=lambda n: isinstance(n, Shared))
    positions = [i for i, leaf in enumerate(leaves) if not isinstance(leaf, Shared)]

    def together(arrays: list[Any]) -> Any:
        new_leaves = list(leaves)
        for i, a in zip(positions, arrays, strict=True):
            new_leaves[i] = a
        return jax.tree.unflatten(structure, new_leaves)

    return [leaves[i] for i in positions], together


def count_examples(x: Any, name: str = "x") -> int:
    """Return the number of examples of the inputs.

    Raises:
      InputError: if there are none, or arrays differ.
    """
    shapes = [tuple(np.shape(a)) for a in apart(x)[0]]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise InputError(
            f"{name}: shapes {shapes}: must be [n, ...], with the same n for all inputs; wrap an array that all "
            f"examples share in analogsim.Shared"
        )
    if shapes[0][0] == 0:
        raise InputError(f"{name}: shape {shapes[0]}: must hold at least one example")
    return shapes[0][0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sample:
    """Shapes of one call's inputs, stored with calibrated ranges so that programming needs no data.

    Attributes:
      shapes: ``(shape, dtype)`` of every array, with a single example.
      structure: pytree structure of ``(args, kwargs)``; None if every input is one positional array.
      shared: leaf indices of arrays that all examples share.
      fixed: ``(leaf index, value)`` of inputs that are not arrays.
    """

    shapes: tuple[tuple[tuple[int, ...], str], ...] = dataclasses.field(metadata=dict(static=True))
    structure: Any = dataclasses.field(default=None, metadata=dict(static=True))
    shared: tuple[int, ...] = dataclasses.field(default=(), metadata=dict(static=True))
    fixed: tuple[tuple[int, Any], ...] = dataclasses.field(default=(), metadata=dict(static=True))

    @classmethod
    def of(cls, x: Any) -> "Sample":
        """Return the sample of the given inputs."""
        inputs = as_inputs(x)
        shared: list[int] = []
        fixed: list[tuple[int, Any]] = []
        wrapped, outer = jax.tree.flatten((inputs.args, inputs.kwargs), is_leaf=_is_wrapped)
        tree, shapes, number = [], [], 0
        for item in wrapped:
            if isinstance(item, Fixed):
                fixed.append((number, item.value))
                # A leaf as placeholder: ``Fixed`` is a static node, which has none.
                tree.append(0)
                number += 1
                continue
            value = item.value if isinstance(item, Shared) else item
            for leaf in jax.tree.leaves(value):
                if isinstance(item, Shared):
                    shared.append(number)
                shapes.append(_single(leaf, isinstance(item, Shared)))
                number += 1
            tree.append(value)
        structure: Any = jax.tree.structure(jax.tree.unflatten(outer, tree))
        plain = structure == jax.tree.structure(((0,) * len(shapes), {})) and not shared and not fixed
        return cls(tuple(shapes), None if plain else structure, tuple(shared), tuple(fixed))

    def inputs(self) -> Inputs:
        """Return inputs of these shapes, filled with zeros."""
        zeros = iter([jnp.zeros(shape, dtype) for shape, dtype in self.shapes])
        if self.structure is None:
            return Inputs(*zeros)
        fixed = dict(self.fixed)
        leaves: list[Any] = []
        for number in range(self.structure.num_leaves):
            leaf = Fixed(fixed[number]) if number in fixed else next(zeros)
            leaves.append(Shared(leaf) if number in self.shared else leaf)
        args, kwargs = jax.tree.unflatten(self.structure, leaves)
        return Inputs(*args, **kwargs)


def _single(leaf: Any, is_shared: bool) -> tuple[tuple[int, ...], str]:
    shape, dtype = tuple(np.shape(leaf)), jnp.result_type(leaf)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise InputError("x: holds random keys; pass a model's random streams as rngs={name: key}")
    if is_shared:
        return shape, str(dtype)
    if not shape:
        raise InputError(
            "x: shapes [()]: must be [n, ...]; wrap a number or an array that all examples share in analogsim.Shared"
        )
    return (1, *shape[1:]), str(dtype)


def sample_text(sample: Sample) -> Any:
    """Convert a sample to JSON: a list of shapes if every input is one positional array, else shapes and tree.

    Raises:
      InputError: for a tree with other nodes than dictionaries, lists and tuples.
    """
    shapes = [{"shape": list(shape), "dtype": dtype} for shape, dtype in sample.shapes]
    if sample.structure is None:
        return shapes
    tree = jax.tree.unflatten(sample.structure, range(sample.structure.num_leaves))
    fixed = [[number, value] for number, value in sample.fixed]
    for _, value in fixed:
        if not isinstance(value, (bool, int, float, str)):
            raise InputError(f"x: a {type(value).__name__} among the inputs cannot be saved")
    return {"arrays": shapes, "tree": _tree_text(tree), "shared": list(sample.shared), "fixed": fixed}


def sample_from_text(text: Any) -> Sample:
    """Convert the JSON of ``sample_text`` back to a sample.

    Raises:
      TypeError, ValueError, KeyError: if it is not such JSON.
    """
    plain = isinstance(text, list)
    shapes = tuple((_shape(one["shape"]), str(jnp.dtype(one["dtype"]))) for one in (text if plain else text["arrays"]))
    if plain:
        return Sample(shapes)
    structure: Any = jax.tree.structure(_tree_from_text(text["tree"]))
    fixed = tuple((int(number), value) for number, value in text["fixed"])
    sample = Sample(shapes, structure, tuple(map(int, text["shared"])), fixed)
    if structure.num_leaves != len(shapes) + len(fixed):
        raise ValueError("the tree's leaves do not match the arrays")
    return sample


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    # type(), because isinstance would accept JSON's true as the integer 1.
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is not a shape")
    return tuple(shape)


def _tree_text(tree: PyTree) -> Any:
    if tree is None or type(tree) is int:
        return tree
    if type(tree) is dict and all(isinstance(name, str) for name in tree):
        return {"dict": {name: _tree_text(inner) for name, inner in tree.items()}}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_tree_text(inner) for inner in tree]}
    raise InputError(
        f"x: a {type(tree).__name__} among the inputs cannot be saved, only dictionaries, lists and tuples"
    )


def _tree_from_text(text: Any) -> Any:
    if text is None or type(text) is int:
        return text
    ((kind, inner),) = text.items()
    if kind == "dict":
        return {name: _tree_from_text(one) for name, one in inner.items()}
    return {"list": list, "tuple": tuple}[kind](_tree_from_text(one) for one in inner)
