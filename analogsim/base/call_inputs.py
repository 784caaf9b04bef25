"""The inputs of one call of a model: any pytree of arrays, positional or by keyword.

    program(model, variables, key, x)                          one input
    program(model, variables, key, (x, y))                     two: model(x, y)
    program(model, variables, key, {"ids": ids, "types": t})   one, which is a dictionary
    program(model, variables, key, x, mask=mask, train=False)  an input by keyword beside an option
    program(model, variables, key, Inputs(x, mask=mask))       the same, for keywords that the function has itself
    evaluate(model, variables, x, labels, mask=Shared(mask))   an array that all examples share

A tuple is several inputs; whatever else holds arrays (dictionaries, named tuples, dataclasses) is one. A list of
numbers is an array written out. Every array has its examples along its leading axis, the same number in all, unless it
is ``Shared``, which passes whole. Keywords that hold no array are options of the call, static and passed as they are;
so are numbers, texts and None among the inputs. The option ``rngs={"dropout": key}`` is for the random streams of a
model that stays random while it is run.
"""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shared:
    """An input, an array or a pytree of arrays, that has no examples: all share it, and it passes whole.

    A causal mask, for example, or a table of positions.
    """

    value: Any


@jax.tree_util.register_static
class Fixed:
    """What is no array: static, compared by value where it can be hashed, else by identity."""

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
        # By type, too: 1, 1.0 and True are equal, and mean different things to a model.
        return type(self.value) is type(other.value) and self.value == other.value

    def __repr__(self):
        return f"Fixed({self.value!r})"


#: Keyword arguments of a model's call that hold no array, static.
Options = tuple[tuple[str, Fixed], ...]


def fixed_options(options: Mapping[str, Any]) -> Options:
    """Keyword arguments of a model's call in the form that compiled functions can be keyed by."""
    return tuple((name, Fixed(value)) for name, value in sorted(options.items()))


def keywords(options: Options) -> dict[str, Any]:
    """The keyword arguments as they were given."""
    return {name: value.value for name, value in options}


@jax.tree_util.register_pytree_with_keys_class
class Inputs:
    """One call's inputs, ``model(*args, **kwargs)``; goes wherever ``x`` does. A pytree.

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
        """For jax."""
        names = (jax.tree_util.GetAttrKey("args"), jax.tree_util.GetAttrKey("kwargs"))
        return tuple(zip(names, (self.args, self.kwargs), strict=True)), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> "Inputs":
        """For jax."""
        found = object.__new__(cls)
        found.args, found.kwargs = children
        return found

    def call(self, function: Callable[..., Any], *first: Any, **options: Any) -> Any:
        """``function(*first, *args, **kwargs, **options)``, with what is shared or fixed as it was given."""
        args, kwargs = _plain((self.args, self.kwargs))
        return function(*first, *args, **kwargs, **options)

    @property
    def given(self) -> Any:
        """As one gives it: an array, a tuple where there are several, ``Inputs`` where there are keywords."""
        if self.kwargs:
            return self
        args = _plain(self.args)
        return args[0] if len(args) == 1 and not _is_several(args[0]) else args


def _plain(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.value if isinstance(a, (Shared, Fixed)) else a, tree, is_leaf=_is_wrapped)


def _is_wrapped(node: Any) -> bool:
    return isinstance(node, (Shared, Fixed))


def _is_several(x: Any) -> bool:
    return isinstance(x, tuple) and not hasattr(x, "_fields")


def inputs_of(x: Any, options: Mapping[str, Any] | None = None) -> tuple[Inputs, dict[str, Any]]:
    """A call's inputs, and its options: the keywords that hold no array.

    Args:
      x: an array, a tuple of inputs, ``Inputs``, any pytree.
      options: keyword arguments of the model's call.

    Raises:
      InputError: for what is no array of numbers.

    Example:
      >>> x, options = inputs_of(jnp.ones((2, 4)), {"mask": jnp.ones((2, 4)), "train": False})
      >>> sorted(x.kwargs), options
      (['mask'], {'train': False})
    """
    options = dict(options or {})  # rngs are keys of random streams, no inputs
    by_name = {name: options.pop(name) for name in list(options) if name != "rngs" and _holds_arrays(options[name])}
    found = as_inputs(x)
    twice = found.kwargs.keys() & (by_name.keys() | options.keys())
    if twice:
        raise InputError(f"{min(twice)}: is given twice, in Inputs and as a keyword")
    more = {name: _arrays(value, name, True) for name, value in by_name.items()}
    return Inputs(*found.args, **found.kwargs, **more), options


def as_inputs(x: Any) -> Inputs:
    """The same without keywords."""
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
    """Options as they are; refuses arrays among them, where these cannot be cut with the examples."""
    for name, value in (options or {}).items():
        if name != "rngs" and _holds_arrays(value):
            raise InputError(f"{name}: holds an array; give it beside x, as Inputs(x, {name}=...)")
    return dict(options or {})


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(a, Shared) or _is_array(a) for a in jax.tree.leaves(value, is_leaf=_is_wrapped))


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, jax.Array, jax.ShapeDtypeStruct))


def _is_written_out(value: Any) -> bool:
    """A list of numbers, or of such lists or tuples."""
    leaves = jax.tree.leaves(value)
    return isinstance(value, list) and bool(leaves) and all(isinstance(a, (numbers.Number, np.generic)) for a in leaves)


def _arrays(tree: Any, where: str, inner: bool) -> Any:
    """A pytree with its arrays as jax has them, and the rest fixed; ``inner`` allows that it is no array at all."""

    def convert(path: tuple, leaf: Any) -> Any:
        name = where + jax.tree_util.keystr(path)
        if isinstance(leaf, Fixed):
            return leaf
        if isinstance(leaf, Shared):
            return Shared(jax.tree.map(lambda a: array(a, name), leaf.value, is_leaf=_is_written_out))
        if _is_written_out(leaf) or _is_array(leaf):
            return array(leaf, name)
        if isinstance(leaf, (numbers.Number, np.generic, str)) and (inner or path):
            return Fixed(leaf)
        return array(leaf, name)

    return jax.tree_util.tree_map_with_path(convert, tree, is_leaf=lambda n: _is_wrapped(n) or _is_written_out(n))


def array(value: Any, name: str) -> Any:
    """One input as a jax array, in its own type; shapes pass."""
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return value
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.dtype != bool and not jnp.issubdtype(found.dtype, np.number):
        raise InputError(f"{name} = {type(value).__name__}: must be an array of numbers, or a pytree of arrays")
    return jnp.asarray(found)


def input_name(path: tuple, count: int, of_args: str = "x") -> str:
    """An array's name, ``x``, ``x[1]``, ``x['ids']`` or ``mask``, by its path in ``Inputs`` of so many arguments."""
    kind, which, *rest = path
    shown = jax.tree_util.keystr(tuple(p for p in rest if p != jax.tree_util.GetAttrKey("value")))
    if kind == jax.tree_util.GetAttrKey("kwargs"):
        return f"{which.key}{shown}"
    return f"{of_args}{shown}" if count == 1 else f"{of_args}[{which.idx}]{shown}"


def map_examples(function: Callable[..., Any], x: Any, *others: Any) -> Any:
    """``function`` of every array that has examples; what is shared stays as in ``x``."""
    same = lambda a, *more: a if isinstance(a, Shared) else function(a, *more)  # noqa: E731
    return jax.tree.map(same, x, *others, is_leaf=lambda n: isinstance(n, Shared))


def apart(x: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The arrays that have examples, and what makes the inputs of such arrays again."""
    leaves, structure = jax.tree.flatten(x, is_leaf=lambda n: isinstance(n, Shared))
    own = [i for i, leaf in enumerate(leaves) if not isinstance(leaf, Shared)]

    def together(arrays: list[Any]) -> Any:
        every = list(leaves)
        for i, a in zip(own, arrays, strict=True):
            every[i] = a
        return jax.tree.unflatten(structure, every)

    return [leaves[i] for i in own], together


def count_examples(x: Any, name: str = "x") -> int:
    """How many examples the inputs have.

    Raises:
      InputError: for none, or where arrays differ.
    """
    shapes = [tuple(np.shape(a)) for a in apart(x)[0]]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise InputError(
            f"{name}: shapes {shapes}: must be [n, ...], with one n for all inputs; put an array that all examples "
            f"share into analogsim.Shared"
        )
    if shapes[0][0] == 0:
        raise InputError(f"{name}: shape {shapes[0]}: holds no example")
    return shapes[0][0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sample:
    """Shapes of one call's inputs, kept beside calibrated ranges so that programming needs no data.

    Attributes:
      shapes: of every array, ``(shape, dtype)``, with a single example.
      structure: the pytree that they are the leaves of, ``(args, kwargs)``; None for arrays that are so many inputs.
      shared: numbers of those arrays that all examples share.
      fixed: what is no array, ``(number of the leaf, value)``.
    """

    shapes: tuple[tuple[tuple[int, ...], str], ...] = dataclasses.field(metadata=dict(static=True))
    structure: Any = dataclasses.field(default=None, metadata=dict(static=True))
    shared: tuple[int, ...] = dataclasses.field(default=(), metadata=dict(static=True))
    fixed: tuple[tuple[int, Any], ...] = dataclasses.field(default=(), metadata=dict(static=True))

    @classmethod
    def of(cls, x: Any) -> "Sample":
        """The sample of any inputs."""
        found = as_inputs(x)
        shared: list[int] = []
        fixed: list[tuple[int, Any]] = []
        wrapped, outer = jax.tree.flatten((found.args, found.kwargs), is_leaf=_is_wrapped)
        tree, shapes, number = [], [], 0
        for item in wrapped:
            if isinstance(item, Fixed):
                fixed.append((number, item.value))
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
        """Zeros of these shapes."""
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
        raise InputError("x: holds random keys; give a model's random streams as rngs={name: key}")
    if is_shared:
        return shape, str(dtype)
    if not shape:
        raise InputError(
            "x: shapes [()]: must be [n, ...]; put a number or an array that all examples share into analogsim.Shared"
        )
    return (1, *shape[1:]), str(dtype)


def sample_text(sample: Sample) -> Any:
    """A sample as JSON: a list of shapes where arrays are so many inputs, else with the tree that they are in.

    Raises:
      InputError: for a tree of other nodes than dictionaries, lists and tuples.
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
    """The sample that ``sample_text`` wrote.

    Raises:
      TypeError, ValueError, KeyError: if it did not.
    """
    plain = isinstance(text, list)
    shapes = tuple((_shape(one["shape"]), str(jnp.dtype(one["dtype"]))) for one in (text if plain else text["arrays"]))
    if plain:
        return Sample(shapes)
    structure: Any = jax.tree.structure(_tree_from_text(text["tree"]))
    fixed = tuple((int(number), value) for number, value in text["fixed"])
    sample = Sample(shapes, structure, tuple(map(int, text["shared"])), fixed)
    if structure.num_leaves != len(shapes) + len(fixed):
        raise ValueError("the tree has other leaves than there are arrays")
    return sample


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is no shape")
    return tuple(shape)


def _tree_text(tree: Any) -> Any:
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
