"""Checkpoints of format 2, written before fields and classes of hardware had today's names."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from analogsim import LearnedRange, convert, preset, program, restore, save
from analogsim.chips.checkpoint import folder
from analogsim.devices import Differential, Faults, MultiCell
from analogsim.training import AdditiveNoise, Chain, Discretise

#: Today's name in the JSON file, and the name in format 2.
OLD = [
    ("energy_table", "prices"), ("EnergyTable", "Prices"), ("training_noise_scale", "training_strength"),
    ("drift_std", "drift_spread"), ("drift_std_range", "drift_spread_range"), ("device_variation", "device_spread"),
    ("MultiCell", "Copies"), ("Chain", "Several"), ("modifiers", "of"),
]  # fmt: skip


def as_format_2(path, leaves=()):
    """Write a checkpoint again as version 0.1 wrote it."""
    text = json.loads((path / "analogsim.json").read_text())
    arrays = folder.read_arrays(path, {n: e for n, e in text["leaves"].items() if "same_as" not in e})
    old = json.dumps({name: text[name] for name in text if name not in ("checksum", "files")})
    for new_name, old_name in OLD:
        old = old.replace(f'"{new_name}"', f'"{old_name}"')
    old = old.replace('"rule": "gradient"', '"rule": "slope"')
    for new_name, old_name in leaves:
        old = old.replace(new_name, old_name)
        arrays = {name.replace(new_name, old_name): array for name, array in arrays.items()}
    folder.write(path, json.loads(old) | {"format": 2}, arrays)


def model(hardware):
    return convert(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), hardware)


CROSSBAR = preset(
    "pcm",
    input_range=LearnedRange(rule="gradient"),
    training=Chain(modifiers=(Discretise(bits=5), AdditiveNoise(std=0.05))),
    **{"store.mapping": Differential(slices=MultiCell(significance=(2.0, 1.0))), "store.faults": Faults(stuck_off=0.1)},
)


@pytest.mark.parametrize(
    ("hardware", "leaves"), [(CROSSBAR, ()), (preset("mzi-mesh"), [("/weight_gradient", "/slope")])]
)
def test_a_checkpoint_of_format_2_is_restored_exactly(tmp_path, hardware, leaves):
    chip = program(model(hardware), key=jax.random.key(1))
    save(tmp_path / "new", model(hardware), chip=chip)
    save(tmp_path / "old", model(hardware), chip=chip)
    as_format_2(tmp_path / "old", leaves)
    written = (tmp_path / "old" / "analogsim.json").read_text()
    assert '"prices"' in written
    assert '"energy_table"' not in written
    new, old = (jax.tree.leaves(restore(tmp_path / name, model(hardware)).chip.cells) for name in ("new", "old"))
    assert len(new) == len(old) > 5
    for a, b in zip(new, old, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_hardware_of_format_2_is_still_refused(tmp_path):
    save(tmp_path / "old", model(CROSSBAR), chip=program(model(CROSSBAR), key=jax.random.key(1)))
    as_format_2(tmp_path / "old")
    with pytest.raises(ValueError, match=r"saved on hardware with energy_table.supply_v = 0.9, this model's has"):
        restore(tmp_path / "old", model(CROSSBAR.replace(**{"energy_table.supply_v": 0.8})))
