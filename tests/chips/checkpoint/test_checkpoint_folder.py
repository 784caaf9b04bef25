"""What save refuses, and the folder that it writes: whole or not at all, readable, nothing pickled."""

import dataclasses
import json
import os
import pathlib
import pickletools
import re

import jax
import numpy as np
import pytest
from checkpoint_models import MODEL, PCM, Wide, X, assert_equal

import analogsim
from analogsim import InputError, preset, restore, save
from analogsim.chips.checkpoint import folder
from analogsim.models.bound import map_programmed
from analogsim.nnx import on_chip
from tests.support.models import MLP, drawn


def test_chips_of_another_model_are_refused(tmp_path, variables, chip, chips, net_chip):
    other = MLP(PCM.replace(**{"store.cell.g_max": 2e-5}))
    wide = Wide((6, 4, 3))
    for model, v, c, message in (
        (other, variables, chip, r"layer Dense_0 was programmed on hardware with store.cell.g_max = 2.5e-05, this"),
        (MLP(preset("reram")), variables, chip, "with store.cell = PCM, this model's has store.cell = ReRAM"),
        (wide, drawn(wide, X), chip, "chip: layer Dense_2 is in the model, not on the chip"),
        (MODEL, variables, net_chip, "chip: layer hidden is on the chip, not in the model"),
        (MODEL, variables, 3, "chip = int: must be a chip"),
        (MODEL, chip, None, r"variables: this is a chip; pass it by name"),
        (MODEL, chip.variables, None, r"variables: hold a chip's readings \('analog'\)"),
    ):
        with pytest.raises(InputError, match=message):
            save(tmp_path / "a", model, v, c, x=X)
    swept = np.array([2.5e-5, 2.5e-5, 2e-5], np.float32)

    def of_swept_cells(held):
        return dataclasses.replace(held, hardware=held.hardware.replace(**{"store.cell.g_max": swept}))

    odd = dataclasses.replace(chips, cells=map_programmed(of_swept_cells, chips.cells))
    with pytest.raises(InputError, match=r"store.cell.g_max\[2\] = 2e-05, this model's has store.cell.g_max\[2\] ="):
        save(tmp_path / "a", MODEL, variables, odd)
    assert not os.listdir(tmp_path)


def test_variables_that_do_not_fit_or_cannot_be_saved_are_refused(tmp_path, variables, net, net_chip):
    params = variables["params"]
    narrow = {
        "params": params | {"Dense_1": {"kernel": np.ones((6, 2), np.float32), "bias": params["Dense_1"]["bias"]}}
    }
    for v, message in (
        (narrow, r"variables: params/Dense_1/kernel: with shape \(6, 2\), the model's is \(6, 3\)"),
        ({"params": {"Dense_0": params["Dense_0"]}}, "params/Dense_1/bias is in the model, not in the variables"),
        ({"params": params | {"a": np.ones(2, np.float32)}}, "params/a is in the variables, not in the model"),
        (variables | {"sown": {"y": (np.ones(2),)}}, r"sown/y is a tuple; .* only dictionaries of arrays"),
        (variables | {"odd": {"y": np.array([None])}}, "odd/y: a ndarray cannot be saved"),
        (variables | {"odd": {"y": "text"}}, "odd/y: a str cannot be saved"),
        (variables | {"odd": {"y": abs}}, "odd/y: a builtin_function_or_method cannot be saved"),
        (None, "variables = None: must be a Linen model's variables"),
    ):
        with pytest.raises(InputError, match=message):
            save(tmp_path / "a", MODEL, v, x=X)
    with pytest.raises(InputError, match=r"run outside of jax\.jit"):
        jax.jit(lambda v: save(tmp_path / "a", MODEL, v, x=X))({"params": params})
    with pytest.raises(InputError, match="x: the layers of an NNX model are known without an input"):
        save(tmp_path / "a", net, x=X)
    with pytest.raises(InputError, match="variables: an NNX model contains its arrays"):
        save(tmp_path / "a", net, variables)
    with pytest.raises(InputError, match=r"layer hidden is on a chip \(on_chip\)"):
        save(tmp_path / "a", on_chip(net, net_chip))
    assert not os.listdir(tmp_path)


def test_a_folder_is_overwritten_only_when_asked_and_only_if_it_is_a_checkpoint(tmp_path, variables, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    save("a", MODEL, variables)  # an empty folder, a relative path
    with pytest.raises(InputError, match=r"is not empty; choose another, or pass overwrite=True"):
        save("a", MODEL, variables)
    doubled = jax.tree.map(lambda a: 2 * a, variables)
    save("a", MODEL, doubled, overwrite=True)
    assert_equal(restore("a", MODEL).variables, doubled)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not a checkpoint and is not overwritten"):
        save("mine", MODEL, variables, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        save("mine/thesis.tex", MODEL, variables)
    save("new/deep/a", MODEL, variables)
    assert sorted(os.listdir()) == ["a", "mine", "new"]


def test_overwriting_never_deletes_what_is_not_the_checkpoints(tmp_path, variables):
    save(tmp_path / "a", MODEL, variables)
    (tmp_path / "a").chmod(0o750)
    for name in ("thesis.tex", "arrays/mine.txt", "runs", "zzz/deep"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("years of work")
    message = (
        r"holds arrays/mine.txt, runs, thesis.tex and 2 more in addition to the checkpoint, which overwriting would"
    )
    with pytest.raises(InputError, match=message):
        save(tmp_path / "a", MODEL, variables, overwrite=True)
    assert (tmp_path / "a" / "zzz" / "deep").read_text() == "years of work"
    restore_refuses = r"arrays/mine.txt is not listed in 'files'"
    with pytest.raises(InputError, match=restore_refuses):
        restore(tmp_path / "a", MODEL)
    for name in ("thesis.tex", "arrays/mine.txt", "runs", "zzz/deep"):
        (tmp_path / "a" / name).unlink()
    (tmp_path / "a" / "zzz").rmdir()
    save(tmp_path / "a", MODEL, variables, overwrite=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750
    (tmp_path / "a" / "analogsim.json").write_text("torn")
    with pytest.raises(InputError, match=r"its analogsim.json cannot be read, so the checkpoint's files cannot be"):
        save(tmp_path / "a", MODEL, variables, overwrite=True)
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_appears_while_saving_is_not_deleted(tmp_path, variables, monkeypatch):
    save(tmp_path / "a", MODEL, variables)
    sums = folder._sums

    def meanwhile(*arguments):
        (tmp_path / "a" / "notes").write_text("new")
        return sums(*arguments)

    monkeypatch.setattr(folder, "_sums", meanwhile)
    with pytest.raises(InputError, match="holds notes in addition to the checkpoint"):
        save(tmp_path / "a", MODEL, variables, overwrite=True)
    assert (tmp_path / "a" / "notes").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, variables, monkeypatch):
    save(tmp_path / "a", MODEL, variables)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_sync", full)
    with pytest.raises(InputError, match=r"a: cannot be written \(No space left on device\)"):
        save(tmp_path / "a", MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, variables)


def test_a_chip_of_an_impossible_age_is_not_saved(tmp_path, variables, chip):
    for age, message in ((-5.0, "chip/time_s = -5: must be finite and at least 0"), (float("inf"), "inf: must be")):
        with pytest.raises(InputError, match=message):
            save(tmp_path / "a", MODEL, variables, dataclasses.replace(chip, time_s=age))


def test_an_interrupted_save_leaves_what_was_there(tmp_path, variables, monkeypatch):
    import orbax.checkpoint as ocp

    save(tmp_path / "a", MODEL, variables)

    def interrupted(self, path, *args, **kwargs):
        (pathlib.Path(path) / "half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "save", interrupted)
    for name in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / name, MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, variables)


def test_a_rename_that_fails_puts_the_old_checkpoint_back(tmp_path, variables, monkeypatch):
    save(tmp_path / "a", MODEL, variables)
    rename = pathlib.Path.rename

    def failing(self, target):
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(InputError, match=r"cannot be written \(Input/output error\)"):
        save(tmp_path / "a", MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, variables)


def test_a_checkpoint_that_appears_while_another_is_written_is_not_replaced(tmp_path, variables, monkeypatch):
    import orbax.checkpoint as ocp

    doubled, write = jax.tree.map(lambda a: 2 * a, variables), ocp.PyTreeCheckpointHandler.save

    def interleaved(self, path, *args, **kwargs):
        monkeypatch.undo()
        save(tmp_path / "a", MODEL, doubled)
        write(self, path, *args, **kwargs)

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "save", interleaved)
    with pytest.raises(InputError, match=r"is not empty; choose another, or pass overwrite=True"):
        save(tmp_path / "a", MODEL, variables)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, doubled)


def test_a_checkpoint_that_cannot_be_put_back_stays_beside_its_place(tmp_path, variables, monkeypatch):
    save(tmp_path / "a", MODEL, variables)
    rename = pathlib.Path.rename

    def failing(self, target):
        if pathlib.Path(target).name == "a":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    message = r"a: can be neither replaced nor put back \(Input/output error\); what it held is in .*\.old"
    with pytest.raises(InputError, match=message):
        save(tmp_path / "a", MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    monkeypatch.undo()
    (old,) = tmp_path.iterdir()
    assert_equal(restore(old, MODEL).variables, variables)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, variables, monkeypatch):
    def read_only(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    with pytest.raises(InputError, match=r"^[^ ]*/a: cannot be written \(Permission denied\)$"):
        save(tmp_path / "a", MODEL, variables)


def test_nothing_is_pickled(kept):
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"analogsim.json", "manifest.ocdbt"}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".npy", ".npz", ".pt")
        with pytest.raises(ValueError):  # noqa: PT011  # whatever stands there is no sequence of pickle's operations
            list(pickletools.genops(path.read_bytes()))
    for source in pathlib.Path(analogsim.chips.checkpoint.__file__).parent.glob("*.py"):
        assert not re.search(
            r"import pickle|pickle\.|eval\(|importlib|__import__", re.sub(r"jax\.eval", "", source.read_text())
        )


def test_the_text_is_for_people(kept):
    text = (kept / "analogsim.json").read_text()
    assert '"matrix": [8, 6]' in text
    assert '"programming_sigma": [2.6348e-07, 1.965e-06, -1.1731e-06]' in text
    assert json.loads(text)["layers"]["Dense_0"]["hardware"]["adc"]["bits"] == 8
    assert str(kept) not in text
