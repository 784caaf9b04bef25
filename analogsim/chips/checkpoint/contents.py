"""What of a model is saved, and how it is put together again, in the collections that its front end gives.

Linen      its variables, ``variables/params/Dense_0/kernel``
NNX        its state but the ranges, ``state/hidden/kernel``, and ``ranges/hidden/input`` by layer, because a model that
           is not calibrated has no place for them
"""

from typing import Any, NamedTuple

import jax

from analogsim.base.call_inputs import Sample
from analogsim.base.errors import InputError
from analogsim.chips.checkpoint.leaves import (
    Entry,
    entry_of,
    escaped,
    named,
    nested,
    sample_of,
    signature,
    struct_of,
    under,
)
from analogsim.chips.checkpoint.outline import Layer, cells_of, layer_differences, layers_of, leaf_differences
from analogsim.hardware.rules import ROOT
from analogsim.layers.collections import Collections
from analogsim.models.bound import bind, front_end_of
from analogsim.signal_path.ranges import Ranges


class Contents(NamedTuple):
    """What is saved of a model.

    Attributes:
      leaves: by name.
      layers: the analog layers by path.
      cells: the programmed tiles of a chip, as shapes.
      sample: the shapes of the inputs of a model that is known from a call; else None.
      built_with: dtypes that the model makes, where its variables have others.
    """

    leaves: dict[str, Any]
    layers: dict[str, Layer]
    cells: Any
    sample: Sample | None
    built_with: dict[str, str]


class RestoredModel(NamedTuple):
    """A model beside a checkpoint.

    Attributes:
      layers: the model's analog layers by path.
      expected: the collections that it makes.
      differences: where the two differ, one sentence each.
      variables: those that are saved, as shapes; None where the model holds its arrays.
      sample, options: with which it is called.
    """

    layers: dict[str, Layer]
    expected: Collections
    differences: list[str]
    variables: Any
    sample: Sample | None
    options: dict[str, Any]


def contents_of(model: Any, variables: Any, x: Any, options: dict[str, Any]) -> Contents:
    """What is saved of a model."""
    front_end = front_end_of(model)
    bound = bind(model, variables, x, options)
    if not front_end.needs_call:
        _refuse_call(front_end.title, options, x)
    saved = front_end.saved(model, variables)
    leaves = _leaves(saved)
    for name, leaf in leaves.items():
        entry_of(name, leaf)  # refuses what cannot be saved
    sample = Sample.of(bound.inputs()) if front_end.needs_call else None
    expected = front_end.expected(model, sample, options)
    _check_plain(saved, expected)
    present = expected._replace(trees={name: tree for name, tree in expected.trees.items() if name in saved.trees})
    own, made = _fixed_entries(saved), _fixed_entries(present)
    dtypes = {name: signature(entry)[1] for name, entry in made.items()}
    built_with = {n: dtypes[n] for n, entry in own.items() if n in dtypes and signature(entry)[1] != dtypes[n]}
    for said in leaf_differences(own, made, built_with, ("with", "in the variables")):
        raise InputError(f"variables: {said}")
    return Contents(leaves, layers_of(bound), cells_of(bound), sample, built_with)


def match_model(model: Any, text: dict[str, Any], entries: dict[str, Entry], options: dict[str, Any]) -> RestoredModel:
    """A model beside the text of a checkpoint, whose shared entries are resolved in ``entries``."""
    front_end = front_end_of(model)
    if not front_end.needs_call:
        _refuse_call(front_end.title, options, None)
    sample = sample_of(text["inputs"] or []) if front_end.needs_call else None
    expected = _expected(model, sample, options)
    _, variables = front_end.rebuilt(model, expected.trees)
    layers = layers_of(bind(model, variables, sample, options))
    structs = assembled({name: struct_of(entry) for name, entry in entries.items()}, expected)
    if variables is not None:  # saved ranges may be others than the model makes
        _, variables = front_end.rebuilt(model, structs)
    saved = _fixed_entries(expected._replace(trees=structs))
    present = expected._replace(trees={name: tree for name, tree in expected.trees.items() if name in structs})
    said = _compared(text, layers, saved, _fixed_entries(present))
    if not said:  # a layer that is missing was named already
        said = _odd_ranges(layers, expected, entries)
    return RestoredModel(layers, expected, said, variables, sample, options)


def _odd_ranges(layers: dict[str, Layer], expected: Collections, entries: dict[str, Entry]) -> list[str]:
    known = {f"{escaped(path)}/{end}" for path in layers for end in Ranges._fields}
    return [
        f"{collection}/{name} is in the checkpoint, and is no range of the model"
        for collection in expected.by_layer
        for name in sorted(under(collection, entries).keys() - known)
    ]


def saved_cells(model: Any, restored: RestoredModel) -> Any:
    """The programmed tiles of a chip of the model with the saved variables, as shapes."""
    return cells_of(bind(model, restored.variables, restored.sample, restored.options))


def rebuilt(model: Any, restored: RestoredModel, leaves: dict[str, Any]) -> tuple[Any, Any]:
    """Model and variables of the saved leaves."""
    return front_end_of(model).rebuilt(model, assembled(leaves, restored.expected))


def _refuse_call(title: str, options: dict[str, Any], x: Any) -> None:
    for name in options:
        raise InputError(f"{name}: {title} model takes no call options here: it is known without a call")
    if x is not None:
        raise InputError(f"x: what {title} model is made of is known without an input; leave x out")


def _expected(model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
    try:
        return front_end_of(model).expected(model, sample, options)
    except InputError:
        raise
    except Exception as error:  # whatever a model of other inputs raises
        inputs, why = [] if sample is None else sample.shapes, " ".join(str(error).split())
        shapes = ", ".join(str(shape) for shape, _ in inputs)
        raise InputError(f"the model cannot be called with inputs as saved, of shape {shapes} ({why})") from error


def _names(collection: str, tree: Any, left_out: tuple[str, ...]) -> dict[str, Any]:
    """The leaves of a collection by name, in the tree's order, without what is not saved."""
    return {
        f"{collection}/{name}": leaf
        for name, leaf in named(tree, boxed=True).items()
        if not (left_out and name.startswith(left_out))
    }


def _leaves(collections: Collections) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for collection, tree in collections.trees.items():
        leaves |= _names(collection, tree, collections.left_out)
    return leaves


def assembled(leaves: dict[str, Any], expected: Collections) -> dict[str, Any]:
    """Collections from their leaves by name: in the model's own structure where it has one, else dictionaries."""
    trees: dict[str, Any] = {}
    roots = {name.partition("/")[0] for name in expected.trees}  # variables; state and ranges
    for root in roots:
        deep = any("/" in name for name in expected.trees if name.partition("/")[0] == root)
        tree = nested(under(root, leaves))
        trees |= {f"{root}/{name}": inner for name, inner in tree.items()} if deep else {root: tree}
    for collection, like in expected.trees.items():
        found = under(collection, leaves)
        kept = [name.removeprefix(f"{collection}/") for name in _names(collection, like, expected.left_out)]
        if found and set(kept) == set(found):
            filled = [found.get(name, own) for name, own in named(like, boxed=True).items()]
            trees[collection] = jax.tree.unflatten(jax.tree.structure(like), filled)
    return trees


def _fixed_entries(collections: Collections) -> dict[str, Entry]:
    """Entries of the leaves that the model determines, named without the first part, ``params/Dense_0/kernel``."""
    fixed = {name: tree for name, tree in collections.trees.items() if name in collections.fixed}
    leaves = _leaves(collections._replace(trees=fixed))
    return {name.partition("/")[2]: entry_of(name, leaf) for name, leaf in leaves.items()}


def _check_plain(saved: Collections, expected: Collections) -> None:
    """Refuse collections that could not be put together again: neither made by the model nor plain dictionaries."""
    for collection, tree in saved.trees.items():
        like = expected.trees.get(collection)
        if like is None or set(named(tree, boxed=True)) != set(named(like, boxed=True)):
            _check_dictionaries(tree, collection.rpartition("/")[2])


def _check_dictionaries(tree: Any, where: str) -> None:
    if hasattr(tree, "items"):
        for name, inner in tree.items():
            _check_dictionaries(inner, f"{where}/{name}")
    elif not isinstance(tree, Sample) and not jax.tree_util.all_leaves([tree]):
        raise InputError(
            f"variables: {where} is a {type(tree).__name__}; in a collection that model.init does not make, only "
            f"dictionaries of arrays can be saved: leave it out"
        )


def _compared(
    text: dict[str, Any], layers: dict[str, Layer], saved: dict[str, Entry], expected: dict[str, Entry]
) -> list[str]:
    """Differences of the layers, then of the leaves that do not belong to a layer which only one of both has."""
    owners = tuple(set(map(_owner, names)) for names in (saved, expected))
    messages = layer_differences(text["layers"], layers, (owners[0], owners[1]))
    alone = (text["layers"].keys() ^ layers.keys()) - (owners[0] & owners[1])
    compared_entries = [{n: e for n, e in names.items() if _owner(n) not in alone} for names in (saved, expected)]
    return messages + leaf_differences(compared_entries[0], compared_entries[1], text["built_with"])


def _owner(name: str) -> str:
    """The path of the layer that a leaf belongs to."""
    return name.removeprefix("params/").rpartition("/")[0] or ROOT
