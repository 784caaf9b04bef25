"""The outline of a model, from shapes alone: its analog layers and the shapes of a chip's arrays.

The model passed to ``restore`` supplies all structure; nothing is built from the content of a checkpoint. The two are
compared, and then the saved arrays are put into the model's structure.
"""

from typing import Any, NamedTuple

import jax

from analogsim.chips.checkpoint.description import described, differences
from analogsim.chips.checkpoint.leaves import Entry, signature
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import holder
from analogsim.models.protocol import BoundModel


class Layer(NamedTuple):
    """An analog layer: hardware, matrix shape ``(n_in, n_out)``, and number of matrices (groups, batch axes)."""

    hardware: Hardware
    matrix: tuple[int, int]
    matrices: int


def layers_of(bound: BoundModel) -> dict[str, Layer]:
    """Return the analog layers of a model by path."""
    layers = {}
    for layer in bound.inventory().layers:
        *stack, n_in, n_out = layer.matrices
        layers[layer.path] = Layer(layer.hardware, (n_in, n_out), stack[0] if stack else 1)
    return layers


def described_layers(layers: dict[str, Layer]) -> dict[str, Any]:
    """Convert layers to JSON for the manifest."""
    return {
        path: {"matrix": list(layer.matrix), "matrices": layer.matrices, "hardware": described(layer.hardware)}
        for path, layer in layers.items()
    }


def cells_of(bound: BoundModel) -> Any:
    """Return the programmed tiles of one chip of the model, as shapes."""
    return jax.eval_shape(lambda b, key: b.program(key), bound, jax.random.key(0))


def leaf_differences(
    saved: dict[str, Entry],
    expected: dict[str, Entry],
    built_with: dict[str, Any],
    words: tuple[str, str] = ("saved with", "in the checkpoint"),
) -> list[str]:
    """Describe every difference between saved leaves and those of the model, one message each.

    Args:
      saved, expected: entries by name.
      built_with: dtypes that the saved model initialises, for leaves that were saved with another dtype.
      words: verb and place of the saved leaves in the messages.
    """
    has, place = words
    messages = []
    for name in [*saved, *(n for n in expected if n not in saved)]:
        if name not in expected:
            messages.append(f"{name} is {place}, not in the model")
        elif name not in saved:
            messages.append(f"{name} is in the model, not {place}")
        else:
            (shape, dtype), (model_shape, model_dtype) = signature(saved[name]), signature(expected[name])
            dtype = built_with.get(name, dtype)
            if shape != model_shape:
                messages.append(f"{name}: {has} shape {shape}, the model's is {model_shape}")
            elif dtype != model_dtype:
                messages.append(f"{name}: {has} dtype {dtype}, the model's is {model_dtype}")
    return messages


def layer_differences(saved: dict[str, Any], layers: dict[str, Layer], kernels: tuple[set, set]) -> list[str]:
    """Describe every difference between the analog layers of a checkpoint and of the model, one message each.

    Layers with the same difference share a message.

    Args:
      saved: layers in the manifest, by path.
      layers: layers of the model.
      kernels: paths of all layers with parameters, digital ones included, in the checkpoint and in the model.
    """
    paths_of: dict[str, list[str]] = {}
    for path in [*saved, *(p for p in layers if p not in saved)]:
        if path in saved and path in layers:
            texts = _hardware_differences(saved[path], layers[path])
        else:
            texts = [_missing_layer(path, saved, layers, kernels)]
        for text in texts:
            paths_of.setdefault(text, []).append(path)
    return [
        f"{_listed(paths)}{text if len(paths) == 1 else text.replace(' is in', ' are in', 1)}"
        for text, paths in paths_of.items()
    ]


def _hardware_differences(saved: dict[str, Any], layer: Layer) -> list[str]:
    fields = differences(saved["hardware"], layer.hardware)
    texts = [f": saved on hardware with {d.field} = {d.saved}, this model's has {d.field} = {d.actual}" for d in fields]
    sizes = [(*saved["matrix"], saved["matrices"]), (*layer.matrix, layer.matrices)]
    if not texts and sizes[0] != sizes[1]:
        before, now = (f"{n} of {a} x {b}" if n > 1 else f"{a} x {b}" for a, b, n in sizes)
        texts.append(f": saved with a matrix of {before}, this model's is {now}")
    return texts


def _missing_layer(path: str, saved: dict[str, Any], layers: dict[str, Layer], kernels: tuple[set, set]) -> str:
    """Describe a layer that is analog on one side only: digital on the other, or absent."""
    if all(path in paths or holder(path) in paths for paths in kernels):
        if path in saved:
            return f": saved on hardware {saved[path]['hardware'].get('name')!r}, this model's is digital"
        return f": saved digital, this model's is on hardware {layers[path].hardware.name!r}"
    return " is in the checkpoint, not in the model" if path in saved else " is in the model, not in the checkpoint"


def _listed(paths: list[str]) -> str:
    if len(paths) == 1:
        return f"layer {paths[0]}"
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"layers {', '.join(paths[:3])}{more}"
