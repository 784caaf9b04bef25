"""What of a model is saved, once for Linen and once for NNX, and how it is put together again.

Linen      its variables, ``variables/params/Dense_0/kernel``
NNX        its state but the ranges, ``state/hidden/kernel``, and ``ranges/hidden/input`` by layer, because a model that
           is not calibrated has no place for them
"""

from typing import Any, NamedTuple

import jax

from analogsim.base.errors import InputError
from analogsim.chips.checkpoint.leaves import Entry, entry_of, escaped, named, sample_of, signature, struct_of, under
from analogsim.chips.checkpoint.outline import (
    Layer,
    assembled,
    check_plain,
    fixed_entries,
    initial,
    layer_differences,
    leaf_differences,
    linen_layers,
    nnx_layers,
    sample_for,
)
from analogsim.models.bound import Sample, bind
from analogsim.signal_path.ranges import Ranges

_ROOT = "(the model itself)"


class Contents(NamedTuple):
    """What is saved of a model.

    Attributes:
      leaves: by name.
      layers: the analog layers by path.
      sample: the shapes of a Linen model's inputs.
      built_with: dtypes that the model makes, where its variables have others.
    """

    leaves: dict[str, Any]
    layers: dict[str, Layer]
    sample: Sample | None = None
    built_with: dict[str, str] | None = None


class RestoredModel(NamedTuple):
    """A model beside a checkpoint.

    Attributes:
      layers: the model's analog layers by path.
      said: where the two differ, one sentence each.
      sample, built, variables: of a Linen model: the saved input, the variables that it makes, and those that are
        saved, all as shapes.
    """

    layers: dict[str, Layer]
    said: list[str]
    sample: Sample | None = None
    built: Any = None
    variables: Any = None


def saved_linen(model: Any, variables: Any, x: Any, options: dict[str, Any]) -> Contents:
    """What is saved of a Linen model."""
    bind(model, variables, options=options)
    if "analog" in variables:
        raise InputError(
            "variables: hold a chip's readings ('analog'); pass the variables that it was programmed from and the chip "
            "itself: save(folder, model, variables, chip)"
        )
    leaves = {f"variables/{name}": leaf for name, leaf in named(variables, boxed=True).items()}
    for name, leaf in leaves.items():
        entry_of(name, leaf)  # refuses what cannot be saved
    sample = sample_for(variables, x)
    built = initial(model, sample, options)
    check_plain(variables, built)
    own, model_own = fixed_entries(variables), _made_alike(built, variables)
    dtypes = {name: signature(entry)[1] for name, entry in model_own.items()}
    built_with = {n: dtypes[n] for n, entry in own.items() if n in dtypes and signature(entry)[1] != dtypes[n]}
    for said in leaf_differences(own, model_own, built_with, ("with", "in the variables")):
        raise InputError(f"variables: {said}")
    return Contents(leaves, linen_layers(model, variables, sample, options), sample, built_with)


def _made_alike(built: Any, variables: Any) -> dict[str, Entry]:
    """What the model makes of the collections that there are."""
    return fixed_entries({name: built[name] for name in built if name in variables})


def match_linen(model: Any, text: dict[str, Any], entries: dict[str, Entry], options: dict[str, Any]) -> RestoredModel:
    """A Linen model beside the text of a checkpoint, whose shared entries are resolved in ``entries``."""
    sample = sample_of(text["inputs"] or [])
    built = _made(model, sample, options)
    structs = {name: struct_of(entry) for name, entry in under("variables", entries).items()}
    variables = assembled(structs, built)
    saved, found = fixed_entries(variables), _made_alike(built, variables)
    layers = linen_layers(model, built, sample, options)
    said = _compared(text, layers, saved, found, "params/")
    return RestoredModel(layers, said, sample, built, variables)


def _made(model: Any, sample: Sample, options: dict[str, Any]) -> Any:
    try:
        return initial(model, sample, options)
    except InputError:
        raise
    except Exception as error:  # whatever a model of other inputs raises
        shapes, why = ", ".join(str(shape) for shape, _ in sample.shapes), " ".join(str(error).split())
        raise InputError(f"the model cannot be called with inputs as saved, of shape {shapes} ({why})") from error


def saved_nnx(model: Any) -> Contents:
    """What is saved of an NNX model."""
    state, ranges = _split_nnx(model)
    return Contents({f"state/{name}": leaf for name, leaf in state.items()} | ranges, nnx_layers(model))


def match_nnx(model: Any, text: dict[str, Any], entries: dict[str, Entry]) -> RestoredModel:
    """An NNX model beside the text of a checkpoint."""
    state, _ = _split_nnx(model)
    layers, found = nnx_layers(model), {name: entry_of(name, leaf) for name, leaf in state.items()}
    said = _compared(text, layers, under("state", entries), found, "")
    ranges = {f"{escaped(path)}/{end}" for path in layers for end in Ranges._fields}
    odd = [] if said else sorted(under("ranges", entries).keys() - ranges)  # a layer that is missing was named already
    return RestoredModel(
        layers, said + [f"ranges/{name} is in the checkpoint, and is no range of the model" for name in odd]
    )


def _split_nnx(model: Any) -> tuple[Any, dict[str, Any]]:
    """The state by name, without ranges and hardware, and the ranges."""
    from flax import nnx

    from analogsim.nnx import RangeVariable, analog_ops

    ranges, hardware = {}, []
    for path, (module, op) in analog_ops(model).items():
        if op.array is not None:
            raise InputError(
                f"model: layer {path} is on a chip (on_chip); pass the model that the chip was programmed for, and the "
                f"chip itself: save(folder, model, chip=chip)"
            )
        for end, value in op.ranges._asdict().items():
            if value is not None:
                ranges[f"ranges/{escaped(path)}/{end}"] = value
        above = "" if path == _ROOT else f"{path.removesuffix('/attend')}/"
        hardware += [f"{above}{attribute}/hardware/" for attribute, value in vars(module).items() if value is op]
    _, _, *states = nnx.split(model, RangeVariable, ...)
    state = named(states[0], boxed=True)  # it holds such fields of the hardware as are arrays
    return {name: leaf for name, leaf in state.items() if not name.startswith(tuple(hardware))}, ranges


def restored_nnx(model: Any, leaves: dict[str, Any]) -> Any:
    """A copy of the model with the saved state and ranges."""
    from flax import nnx

    from analogsim.nnx import RangeVariable, analog_ops

    copy = nnx.clone(model)
    for path, (_, op) in analog_ops(copy).items():
        for end in Ranges._fields:
            op.set_range(end, leaves.get(f"ranges/{escaped(path)}/{end}"))
    graph, ranges, *states = nnx.split(copy, RangeVariable, ...)
    state = states[0]
    saved = [leaves.get(f"state/{name}", own) for name, own in named(state, boxed=True).items()]
    return nnx.merge(graph, ranges, jax.tree.unflatten(jax.tree.structure(state), saved))


def _compared(
    text: dict[str, Any], layers: dict[str, Layer], saved: dict[str, Entry], expected: dict[str, Entry], parameters: str
) -> list[str]:
    """Differences of the layers, then of the leaves that do not belong to a layer which only one of both has."""
    owners = tuple({_owner(name, parameters) for name in names} for names in (saved, expected))
    messages = layer_differences(text["layers"], layers, (owners[0], owners[1]))
    alone = (text["layers"].keys() ^ layers.keys()) - (owners[0] & owners[1])
    compared_entries = [
        {n: e for n, e in names.items() if _owner(n, parameters) not in alone} for names in (saved, expected)
    ]
    return messages + leaf_differences(compared_entries[0], compared_entries[1], text["built_with"])


def _owner(name: str, parameters: str) -> str:
    """The path of the layer that a leaf belongs to."""
    return name.removeprefix(parameters).rpartition("/")[0] or _ROOT
