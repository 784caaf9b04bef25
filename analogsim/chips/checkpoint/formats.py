"""Checkpoints of older formats, whose names differ from today's.

Format 3 renamed fields and classes of hardware, and one field of the states of meshes, rings, tensor cores and
registers. Nothing else changed, so ``up_to_date`` rewrites these names in a text of format 1 or 2.
"""

from typing import Any

_CLASSES = {"Prices": "EnergyTable", "Copies": "MultiCell", "Several": "Chain", "Layout": "CoreLayout"}
_FIELDS = {
    "prices": "energy_table",
    "training_strength": "training_noise_scale",
    "device_spread": "device_variation",
    "drift_spread": "drift_std",
    "drift_spread_range": "drift_std_range",
    "step_spread": "step_std",
    "max_share": "max_fraction",
}
#: A field of one class only: its name is a common word.
_FIELDS_OF = {"Several": {"of": "modifiers"}}
#: Components of the names of a chip's leaves.
_LEAVES = {"slope": "weight_gradient"}


def up_to_date(text: dict[str, Any]) -> dict[str, Any]:
    """Rewrite the content of ``analogsim.json`` from format 1 or 2 to today's names.

    Every renamed leaf keeps the name of its array on the disk as ``in_file``.
    """
    if text["format"] > 2:
        return text
    leaves = {
        _leaf_name(name): {**_entry(entry), "in_file": name} if _leaf_name(name) != name else _entry(entry)
        for name, entry in text["leaves"].items()
    }
    described = {name: _described(text[name]) for name in ("layers", "built_with")}
    return {**text, **described, "leaves": leaves}


def _leaf_name(name: str) -> str:
    if not name.startswith(("chip/cells/", "chip/readings/")):
        return name
    return "/".join(_LEAVES.get(part, part) for part in name.split("/"))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "same_as": _leaf_name(entry["same_as"])} if "same_as" in entry else entry


def _described(item: Any) -> Any:
    if isinstance(item, list):
        return [_described(part) for part in item]
    if not isinstance(item, dict):
        return item
    kind = item.get("class")
    if kind is None:  # layers by their paths, which are the model's own names
        return {name: _described(value) for name, value in item.items()}
    fields = _FIELDS | _FIELDS_OF.get(kind, {})
    renamed = {fields.get(name, name): _described(value) for name, value in item.items()}
    renamed["class"] = _CLASSES.get(kind, kind)
    if kind == "LearnedRange" and renamed.get("rule") == "slope":
        renamed["rule"] = "gradient"
    return renamed
