"""Checkpoints of formats 2 and 3, written before fields and classes of hardware had today's names."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from analogsim import LearnedRange, convert, preset, program, restore, save
from analogsim.chips.checkpoint import folder
from analogsim.devices import ECRAM, SONOS, Differential, Faults, MultiCell
from analogsim.training import AdditiveNoise, Chain, Discretise

#: Today's name in the JSON file, and the name in format 3 or 2.
OLD_3 = [("columns_per_adc", "lines_per_adc"), ("std_limit", "spread"), ("std_scale", "spread_scale"),
         ("step_decrease", "slopes")]  # fmt: skip
OLD_2 = [
    ("energy_table", "prices"), ("EnergyTable", "Prices"), ("training_noise_scale", "training_strength"),
    ("drift_std", "drift_spread"), ("drift_std_range", "drift_spread_range"), ("device_variation", "device_spread"),
    ("MultiCell", "Copies"), ("Chain", "Several"), ("modifiers", "of"),
]  # fmt: skip


def write_again(path, version, leaves=()):
    """Write a checkpoint again as ``version`` of its format was written."""
    text = json.loads((path / "analogsim.json").read_text())
    arrays = folder.read_arrays(path, {n: e for n, e in text["leaves"].items() if "same_as" not in e})
    old = json.dumps({name: text[name] for name in text if name not in ("checksum", "files")})
    for new_name, old_name in OLD_3 + (OLD_2 if version == 2 else []):
        old = old.replace(f'"{new_name}"', f'"{old_name}"')
    if version == 2:
        old = old.replace('"rule": "gradient"', '"rule": "slope"')
    for new_name, old_name in leaves:
        old = old.replace(new_name, old_name)
        arrays = {name.replace(new_name, old_name): array for name, array in arrays.items()}
    folder.write(path, json.loads(old) | {"format": version}, arrays)


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
    write_again(tmp_path / "old", 2, leaves)
    written = (tmp_path / "old" / "analogsim.json").read_text()
    assert '"prices"' in written
    assert '"energy_table"' not in written
    new, old = (jax.tree.leaves(restore(tmp_path / name, model(hardware)).chip.cells) for name in ("new", "old"))
    assert len(new) == len(old) > 5
    for a, b in zip(new, old, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_hardware_of_format_2_is_still_refused(tmp_path):
    save(tmp_path / "old", model(CROSSBAR), chip=program(model(CROSSBAR), key=jax.random.key(1)))
    write_again(tmp_path / "old", 2)
    with pytest.raises(ValueError, match=r"saved on hardware with energy_table.supply_v = 0.9, this model's has"):
        restore(tmp_path / "old", model(CROSSBAR.replace(**{"energy_table.supply_v": 0.8})))


@pytest.mark.parametrize("cell", [SONOS(), ECRAM()], ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("version", [2, 3])
def test_a_checkpoint_of_format_2_or_3_is_restored_with_its_cells(tmp_path, cell, version):
    hardware = preset("pcm", **{"store.cell": cell, "energy_table.columns_per_adc": 8})
    save(tmp_path / "old", model(hardware), chip=program(model(hardware), key=jax.random.key(1)))
    write_again(tmp_path / "old", version)
    written = (tmp_path / "old" / "analogsim.json").read_text()
    assert '"lines_per_adc": 8' in written
    assert ('"spread_scale"' in written) != ('"slopes"' in written)
    restore(tmp_path / "old", model(hardware))
    with pytest.raises(ValueError, match=r"energy_table.columns_per_adc = 8, this model's has"):
        restore(tmp_path / "old", model(hardware.replace(**{"energy_table.columns_per_adc": 1})))


@pytest.mark.parametrize("version", [2, 3])
def test_a_layer_may_be_called_class(tmp_path, version):
    class Model(nnx.Module):
        def __init__(self):
            setattr(self, "class", nnx.Linear(4, 3, rngs=nnx.Rngs(0)))

        def __call__(self, x):
            return getattr(self, "class")(x)

    analog = convert(Model(), preset("pcm", **{"energy_table.columns_per_adc": 8}))
    save(tmp_path / "old", analog, chip=program(analog, key=jax.random.key(1)))
    write_again(tmp_path / "old", version)
    restore(tmp_path / "old", analog)
