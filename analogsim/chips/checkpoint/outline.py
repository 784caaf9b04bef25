"""What a model is made of, found from shapes alone: its parameters as it makes them, its analog layers, its arrays.

The model that is given to ``restore`` supplies all structure. Nothing is built from what a checkpoint says; the two are
compared, and then the saved arrays are put into the model's own structure.
"""

from typing import Any, NamedTuple

import jax

from analogsim.chips.checkpoint.description import described, differences
from analogsim.chips.checkpoint.leaves import Entry, signature
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.models.protocol import BoundModel


class Layer(NamedTuple):
    """One analog layer: its hardware, its matrix ``(n_in, n_out)`` and how many of them (groups, batch axes)."""

    hardware: Hardware
    matrix: tuple[int, int]
    matrices: int


def layers_of(bound: BoundModel) -> dict[str, Layer]:
    """The analog layers of a model by path."""
    found = {}
    for one in bound.inventory().layers:
        *stack, n_in, n_out = one.matrices
        found[one.path] = Layer(one.hardware, (n_in, n_out), stack[0] if stack else 1)
    return found


def described_layers(layers: dict[str, Layer]) -> dict[str, Any]:
    """Layers for the JSON file."""
    return {
        path: {"matrix": list(layer.matrix), "matrices": layer.matrices, "hardware": described(layer.hardware)}
        for path, layer in layers.items()
    }


def cells_of(bound: BoundModel) -> Any:
    """The programmed tiles of a chip of the model, as shapes."""
    return jax.eval_shape(lambda b, key: b.program(key), bound, jax.random.key(0))


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
    texts = [f": saved on hardware with {d.field} = {d.saved}, this model's has {d.field} = {d.actual}" for d in found]
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
