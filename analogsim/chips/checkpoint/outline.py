"""What a model is made of, found from shapes alone: its parameters as it makes them, its analog layers, its arrays.

The model that is given to ``restore`` supplies all structure. Nothing is built from what a checkpoint says; the two are
compared, and then the saved arrays are put into the model's own structure.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

from analogsim.base.errors import InputError
from analogsim.chips.checkpoint.description import described, differences
from analogsim.chips.checkpoint.leaves import Entry, entry_of, named, nested, signature, under
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.models.bound import Sample, bind

FIXED = ("params", "batch_stats")  # collections whose leaves the model determines; others may depend on the call


class Layer(NamedTuple):
    """One analog layer: its hardware, its matrix ``(n_in, n_out)`` and how many of them (groups, batch axes)."""

    hardware: Hardware
    matrix: tuple[int, int]
    matrices: int


def front_end_of(model: Any) -> str:
    """``"linen"`` or ``"nnx"``."""
    from flax import linen, nnx

    if isinstance(model, linen.Module):
        return "linen"
    if isinstance(model, nnx.Module):
        return "nnx"
    raise InputError(f"model = {type(model).__name__}: must be a flax.linen or flax.nnx module")


def sample_for(variables: Any, x: Any) -> Sample:
    """The shapes of a Linen model's inputs."""
    sample = Sample.of(x) if x is not None else variables.get("ranges", {}).get("sample")
    if not isinstance(sample, Sample):
        raise InputError(
            "x = None: what a Linen model is made of is found from the shape of its input; pass x (one example is "
            "enough), or variables that come from analogsim.calibrate, which remember it"
        )
    return sample


def initial(model: Any, sample: Sample, options: dict[str, Any]) -> Any:
    """The variables that a Linen model makes for itself, as shapes."""

    return jax.eval_shape(lambda key, x: x.call(model.init, key, **options), jax.random.key(0), sample.inputs())


def linen_layers(model: Any, variables: Any, sample: Sample, options: dict[str, Any]) -> dict[str, Layer]:
    """The analog layers of a Linen model by path."""
    from analogsim.layers.inventory import inventory

    def run(variables: Any, x: Any) -> Any:
        return x.call(model.apply, variables, **options)

    return _by_path(inventory(run, variables, (sample.inputs(),)).layers)


def nnx_layers(model: Any) -> dict[str, Layer]:
    """The analog layers of an NNX model by path."""
    from analogsim.nnx.inventory import inventory_of

    return _by_path(inventory_of(model, None).layers)


def _by_path(listed: list[Any]) -> dict[str, Layer]:
    layers = {}
    for entry in listed:
        *stack, n_in, n_out = entry.matrices
        layers[entry.path] = Layer(entry.hardware, (n_in, n_out), stack[0] if stack else 1)
    return layers


def described_layers(layers: dict[str, Layer]) -> dict[str, Any]:
    """Layers for the JSON file."""
    return {
        path: {"matrix": list(layer.matrix), "matrices": layer.matrices, "hardware": described(layer.hardware)}
        for path, layer in layers.items()
    }


def cells_of(model: Any, variables: Any, sample: Sample | None, options: dict[str, Any]) -> Any:
    """The programmed tiles of a chip of the model, as shapes."""
    bound: Any = bind(model, variables, options=options)
    if sample is not None:
        bound = dataclasses.replace(bound, sample=sample)
    return jax.eval_shape(lambda b, key: b.program(key), bound, jax.random.key(0))


def entries_of(tree: Any, boxed: bool = False) -> dict[str, Entry]:
    """Every leaf's entry by name."""
    return {name: entry_of(name, leaf) for name, leaf in named(tree, boxed).items()}


def fixed_entries(variables: Any) -> dict[str, Entry]:
    """Of Linen variables, those that the model determines."""
    return entries_of({name: variables[name] for name in FIXED if name in variables}, boxed=True)


def assembled(leaves: dict[str, Any], built: Any) -> dict[str, Any]:
    """Linen variables from their leaves by name: in the model's own structure where it has one, else dictionaries."""
    tree = nested(leaves)
    for collection, template in built.items():
        saved_leaves, names = under(collection, leaves), list(named(template, boxed=True))
        if saved_leaves and set(names) == set(saved_leaves):
            tree[collection] = jax.tree.unflatten(jax.tree.structure(template), [saved_leaves[name] for name in names])
    return tree


def check_plain(variables: Any, built: Any) -> None:
    """Refuse collections that could not be put together again: neither made by the model nor plain dictionaries."""
    for collection, tree in variables.items():
        if collection not in built or set(named(tree, boxed=True)) != set(named(built[collection], boxed=True)):
            _check_dictionaries(tree, collection)


def _check_dictionaries(tree: Any, where: str) -> None:
    if hasattr(tree, "items"):
        for name, inner in tree.items():
            _check_dictionaries(inner, f"{where}/{name}")
    elif not isinstance(tree, Sample) and not jax.tree_util.all_leaves([tree]):
        raise InputError(
            f"variables: {where} is a {type(tree).__name__}; in a collection that model.init does not make, only "
            f"dictionaries of arrays can be saved: leave it out"
        )


def leaf_differences(
    saved: dict[str, Entry],
    expected: dict[str, Entry],
    built_with: dict[str, Any],
    words: tuple[str, str] = ("saved with", "in the checkpoint"),
) -> list[str]:
    """Where leaves are not those of the model, one sentence each.

    ``built_with`` has the dtypes that the saved model makes where the saved leaves have others.
    """
    has, place = words
    messages = []
    for name in [*saved, *(n for n in expected if n not in saved)]:
        if name not in expected:
            messages.append(f"{name} is {place}, not in the model")
        elif name not in saved:
            messages.append(f"{name} is in the model, not {place}")
        else:
            (shape, dtype), (my_shape, my_dtype) = signature(saved[name]), signature(expected[name])
            dtype = built_with.get(name, dtype)
            if shape != my_shape:
                messages.append(f"{name}: {has} shape {shape}, the model's is {my_shape}")
            elif dtype != my_dtype:
                messages.append(f"{name}: {has} dtype {dtype}, the model's is {my_dtype}")
    return messages


def layer_differences(saved: dict[str, Any], layers: dict[str, Layer], kernels: tuple[set, set]) -> list[str]:
    """Where the analog layers of a checkpoint are not those of the model, one sentence each.

    ``kernels`` are the paths of all layers with parameters, of the checkpoint and of the model.
    """
    said: dict[str, list[str]] = {}
    for path in [*saved, *(p for p in layers if p not in saved)]:
        if path in saved and path in layers:
            texts = _hardware_differences(saved[path], layers[path])
        else:
            texts = [_of_one_side(path, path in saved, saved, layers, kernels)]
        for text in texts:
            said.setdefault(text, []).append(path)
    return [
        f"{_layers(paths)}{text if len(paths) == 1 else text.replace(' is in', ' are in', 1)}"
        for text, paths in said.items()
    ]


def _hardware_differences(saved: Any, layer: Layer) -> list[str]:
    found = differences(saved["hardware"], layer.hardware)
    texts = [f": saved on hardware with {d.field} = {d.saved}, this model's has {d.field} = {d.found}" for d in found]
    sizes = [(*saved["matrix"], saved["matrices"]), (*layer.matrix, layer.matrices)]
    if not texts and sizes[0] != sizes[1]:
        was, now = (f"{n} of {a} x {b}" if n > 1 else f"{a} x {b}" for a, b, n in sizes)
        texts.append(f": saved with a matrix of {was}, this model's is {now}")
    return texts


def _of_one_side(path: str, is_saved: bool, saved: Any, layers: Any, kernels: tuple[set, set]) -> str:
    own = holder(path)
    if own in kernels[0] and own in kernels[1]:
        if is_saved:
            return f": saved on hardware {saved[path]['hardware'].get('name')!r}, this model's is digital"
        return f": saved digital, this model's is on hardware {layers[path].hardware.name!r}"
    return " is in the checkpoint, not in the model" if is_saved else " is in the model, not in the checkpoint"


def _layers(paths: list[str]) -> str:
    if len(paths) == 1:
        return f"layer {paths[0]}"
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"layers {', '.join(paths[:3])}{more}"
