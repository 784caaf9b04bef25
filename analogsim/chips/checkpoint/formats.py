"""Conversion of checkpoints of older formats.

Format 3 renamed fields and classes of hardware, and one field of the states of meshes, rings, tensor cores and
registers; format 4 renamed four more fields of hardware. Nothing else changed, so ``up_to_date`` only replaces these
names in the manifest, format by format.
"""

from typing import Any, NamedTuple


class _Renames(NamedTuple):
    """New names of classes and fields by their old names, as introduced by one format."""

    classes: dict[str, str]
    fields: dict[str, str]
    fields_of: dict[str, dict[str, str]]  #: by old name of the class, because the field's name is a common word


_RENAMES = {
    3: _Renames(
        {"Prices": "EnergyTable", "Copies": "MultiCell", "Several": "Chain", "Layout": "CoreLayout"},
        {
            "prices": "energy_table",
            "training_strength": "training_noise_scale",
            "device_spread": "device_variation",
            "drift_spread": "drift_std",
            "drift_spread_range": "drift_std_range",
            "step_spread": "step_std",
            "max_share": "max_fraction",
        },
        {"Several": {"of": "modifiers"}},
    ),
    4: _Renames(
        {},
        {},
        {
            "EnergyTable": {"lines_per_adc": "columns_per_adc"},
            "SONOS": {"spread": "std_limit", "spread_scale": "std_scale"},
            "ECRAM": {"slopes": "step_decrease"},
        },
    ),
}
#: Parts of the names of a chip's leaves, renamed by format 3.
_LEAVES = {"slope": "weight_gradient"}


def up_to_date(manifest: dict[str, Any]) -> dict[str, Any]:
    """Replace the names of older formats in the content of ``analogsim.json`` by the current names.

    The entry of a renamed leaf keeps the name of its stored array as ``in_file``.
    """
    if manifest["format"] < 3:
        leaves = {
            _leaf_name(name): {**_entry(entry), "in_file": name} if _leaf_name(name) != name else _entry(entry)
            for name, entry in manifest["leaves"].items()
        }
        manifest = {**manifest, "leaves": leaves}
    for version, renames in _RENAMES.items():
        if manifest["format"] < version:
            described = {name: _described(manifest[name], renames) for name in ("layers", "built_with")}
            manifest = {**manifest, **described}
    return manifest


def _leaf_name(name: str) -> str:
    if not name.startswith(("chip/cells/", "chip/readings/")):
        return name
    return "/".join(_LEAVES.get(part, part) for part in name.split("/"))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "same_as": _leaf_name(entry["same_as"])} if "same_as" in entry else entry


def _described(item: Any, renames: _Renames) -> Any:
    if isinstance(item, list):
        return [_described(part, renames) for part in item]
    if not isinstance(item, dict):
        return item
    kind = item.get("class")
    # Otherwise keyed by the paths of layers: names of the user's model, among which "class" may be one.
    if not isinstance(kind, str):
        return {name: _described(value, renames) for name, value in item.items()}
    fields = renames.fields | renames.fields_of.get(kind, {})
    renamed = {fields.get(name, name): _described(value, renames) for name, value in item.items()}
    renamed["class"] = renames.classes.get(kind, kind)
    if kind == "LearnedRange" and renamed.get("rule") == "slope":
        renamed["rule"] = "gradient"
    return renamed
