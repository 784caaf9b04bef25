"""The arrays of a model that are saved, and how a model is reassembled from them.

Leaves are named by the collections of the model's front end:

    Linen      its variables, ``variables/params/Dense_0/kernel``
    NNX        its state without the calibrated ranges, ``state/hidden/kernel``, and the ranges by layer,
               ``ranges/hidden/input``: a model that is not calibrated has no variable for them
"""

from typing import Any, NamedTuple

import jax

from analogsim.base.call_inputs import Sample, sample_from_text
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.chips.checkpoint.leaves import Entry, entry_of, escaped, named, nested, signature, struct_of, under
from analogsim.chips.checkpoint.outline import Layer, cells_of, layer_differences, layers_of, leaf_differences
from analogsim.hardware.rules import ROOT
from analogsim.layers.collections import Collections
from analogsim.models.bound import bind, front_end_of
from analogsim.signal_path.ranges import Ranges


class Contents(NamedTuple):
    """A model as ``save`` writes it.

    Attributes:
      leaves: arrays and numbers by name.
      layers: analog layers by path.
      cells: programmed tiles of one chip, as shapes.
      sample: shapes of the inputs of a model whose layers are known from a call only; else None.
      built_with: dtypes that the model initialises, for leaves whose variables have another dtype.
    """

    leaves: dict[str, Any]
    layers: dict[str, Layer]
    cells: PyTree
    sample: Sample | None
    built_with: dict[str, str]


class RestoredModel(NamedTuple):
    """A model that a checkpoint is restored to.

    Attributes:
      layers: analog layers of the model by path.
      expected: collections of the model.
      differences: differences between checkpoint and model, one message each.
      variables: the saved variables as shapes; None if the model holds its arrays.
      sample, options: inputs and keyword arguments of the model's call.
    """

    layers: dict[str, Layer]
    expected: Collections
    differences: list[str]
    variables: PyTree
    sample: Sample | None
    options: dict[str, Any]


def contents_of(model: Any, variables: PyTree, x: Any, options: dict[str, Any]) -> Contents:
    """Collect everything of a model that is saved.

    Raises:
      InputError: if the variables do not fit the model, or hold something that cannot be saved or restored.
    """
    front_end = front_end_of(model)
    bound = bind(model, variables, x, options)
    if not front_end.needs_call:
        _refuse_call(front_end.title, options, x)
    saved = front_end.saved(model, variables)
    leaves = _leaves(saved)
    for name, leaf in leaves.items():
        entry_of(name, leaf)  # raises if the leaf cannot be saved
    sample = Sample.of(bound.inputs()) if front_end.needs_call else None
    expected = front_end.expected(model, sample, options)
    _check_plain(saved, expected)
    present = expected._replace(trees={name: tree for name, tree in expected.trees.items() if name in saved.trees})
    entries, initial = _fixed_entries(saved), _fixed_entries(present)
    dtypes = {name: signature(entry)[1] for name, entry in initial.items()}
    built_with = {n: dtypes[n] for n, entry in entries.items() if n in dtypes and signature(entry)[1] != dtypes[n]}
    for text in leaf_differences(entries, initial, built_with, ("with", "in the variables")):
        raise InputError(f"variables: {text}")
    return Contents(leaves, layers_of(bound), cells_of(bound), sample, built_with)


def match_model(
    model: Any, manifest: dict[str, Any], entries: dict[str, Entry], options: dict[str, Any]
) -> RestoredModel:
    """Compare a model with a checkpoint, before any array is read.

    Args:
      model: the model that is restored to.
      manifest: content of ``analogsim.json``.
      entries: its leaves, with every ``same_as`` resolved.
      options: keyword arguments of the model's call.

    Raises:
      InputError: if the model cannot be called with inputs of the saved shapes.
    """
    front_end = front_end_of(model)
    if not front_end.needs_call:
        _refuse_call(front_end.title, options, None)
    sample = sample_from_text(manifest["inputs"] or []) if front_end.needs_call else None
    expected = _expected(model, sample, options)
    _, variables = front_end.rebuilt(model, expected.trees)
    layers = layers_of(bind(model, variables, sample, options))
    structs = assembled({name: struct_of(entry) for name, entry in entries.items()}, expected)
    if variables is not None:  # the saved ranges may have other shapes than the initial ones
        _, variables = front_end.rebuilt(model, structs)
    saved = _fixed_entries(expected._replace(trees=structs))
    present = expected._replace(trees={name: tree for name, tree in expected.trees.items() if name in structs})
    differences = _differences(manifest, layers, saved, _fixed_entries(present))
    if not differences:  # otherwise the ranges of a missing layer would be reported in addition to the layer
        differences = _unknown_ranges(layers, expected, entries)
    return RestoredModel(layers, expected, differences, variables, sample, options)


def _unknown_ranges(layers: dict[str, Layer], expected: Collections, entries: dict[str, Entry]) -> list[str]:
    valid = {f"{escaped(path)}/{end}" for path in layers for end in Ranges._fields}
    return [
        f"{collection}/{name} is in the checkpoint, but is not a range of the model"
        for collection in expected.by_layer
        for name in sorted(under(collection, entries).keys() - valid)
    ]


def saved_cells(model: Any, target: RestoredModel) -> Any:
    """Return the programmed tiles of one chip of the model with the saved variables, as shapes."""
    return cells_of(bind(model, target.variables, target.sample, target.options))


def rebuilt(model: Any, target: RestoredModel, leaves: dict[str, Any]) -> tuple[Any, Any]:
    """Return model and variables with the given leaves."""
    return front_end_of(model).rebuilt(model, assembled(leaves, target.expected))


def _refuse_call(title: str, options: dict[str, Any], x: Any) -> None:
    for name in options:
        raise InputError(f"{name}: {title} model takes no call options here, its layers are known without a call")
    if x is not None:
        raise InputError(f"x: the layers of {title} model are known without an input; leave x out")


def _expected(model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
    try:
        return front_end_of(model).expected(model, sample, options)
    except InputError:
        raise
    except Exception as error:  # a user's model may raise anything if its inputs have other shapes
        shapes = ", ".join(str(shape) for shape, _ in ([] if sample is None else sample.shapes))
        why = " ".join(str(error).split())
        raise InputError(f"the model cannot be called with inputs of the saved shapes {shapes} ({why})") from error


def _names(collection: str, tree: PyTree, left_out: tuple[str, ...]) -> dict[str, Any]:
    """Return the leaves of a collection by name, in the tree's order, without those that are not saved."""
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
    """Build collections from leaves by name.

    A collection with the same leaves as the model's takes the model's structure; any other becomes nested dictionaries.
    """
    trees: dict[str, Any] = {}
    roots = {name.partition("/")[0] for name in expected.trees}  # variables; state and ranges
    for root in roots:
        deep = any("/" in name for name in expected.trees if name.partition("/")[0] == root)
        tree = nested(under(root, leaves))
        trees |= {f"{root}/{name}": inner for name, inner in tree.items()} if deep else {root: tree}
    for collection, like in expected.trees.items():
        by_name = under(collection, leaves)
        saved = {name.removeprefix(f"{collection}/") for name in _names(collection, like, expected.left_out)}
        if by_name and saved == set(by_name):
            filled = [by_name.get(name, leaf) for name, leaf in named(like, boxed=True).items()]
            trees[collection] = jax.tree.unflatten(jax.tree.structure(like), filled)
    return trees


def _fixed_entries(collections: Collections) -> dict[str, Entry]:
    """Return entries of the leaves that the model determines, without their first part: ``params/Dense_0/kernel``."""
    fixed = {name: tree for name, tree in collections.trees.items() if name in collections.fixed}
    leaves = _leaves(collections._replace(trees=fixed))
    return {name.partition("/")[2]: entry_of(name, leaf) for name, leaf in leaves.items()}


def _check_plain(saved: Collections, expected: Collections) -> None:
    """Refuse collections that cannot be reassembled: those that the model does not create, unless dictionaries."""
    for collection, tree in saved.trees.items():
        like = expected.trees.get(collection)
        if like is None or set(named(tree, boxed=True)) != set(named(like, boxed=True)):
            _check_dictionaries(tree, collection.rpartition("/")[2])


def _check_dictionaries(tree: PyTree, where: str) -> None:
    if hasattr(tree, "items"):
        for name, inner in tree.items():
            _check_dictionaries(inner, f"{where}/{name}")
    elif not isinstance(tree, Sample) and not jax.tree_util.all_leaves([tree]):
        raise InputError(
            f"variables: {where} is a {type(tree).__name__}; in a collection that model.init does not create, only "
            f"dictionaries of arrays can be saved: leave it out"
        )


def _differences(
    manifest: dict[str, Any], layers: dict[str, Layer], saved: dict[str, Entry], expected: dict[str, Entry]
) -> list[str]:
    """Describe differences of the layers, then of the leaves, except those of a layer that exists on one side only."""
    kernels = (set(map(_layer_of, saved)), set(map(_layer_of, expected)))
    messages = layer_differences(manifest["layers"], layers, kernels)
    one_sided = (manifest["layers"].keys() ^ layers.keys()) - (kernels[0] & kernels[1])
    saved, expected = ({n: e for n, e in names.items() if _layer_of(n) not in one_sided} for names in (saved, expected))
    return messages + leaf_differences(saved, expected, manifest["built_with"])


def _layer_of(name: str) -> str:
    """Return the path of the layer that a leaf belongs to."""
    return name.removeprefix("params/").rpartition("/")[0] or ROOT
