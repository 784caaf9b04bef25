"""What can be refused is refused before anything is computed."""

import dataclasses
import sys
import types

import flax.linen as nn
import jax
import numpy as np
import pytest

from analogsim import InputError, calibrate, evaluate, preset, report, sweep
from analogsim.chips import evaluation as evaluating
from analogsim.linen import AnalogDense
from analogsim.training import fine_tune
from tests.cli.test_cli import analogsim as command
from tests.support.sweep_results import BITS, sweep_results

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.arange(6) % 3
KEY = jax.random.key(0)
LAYER = AnalogDense(3, hardware=preset("reram"))
VARIABLES = {"params": {"kernel": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float32)}}


@pytest.fixture
def forbidden(monkeypatch):
    """A function that may not be called."""

    def forbid(owner, name):
        def computed(*arguments, **options):
            raise AssertionError(f"{name} was called first")

        monkeypatch.setattr(owner, name, computed)

    return forbid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(times=[]), r"times = \[\]: must be a sequence of times"),
        (dict(times="1 day"), "times = '1 day': must be a sequence of times"),
        (dict(times=["1 s", 1.0]), "1 s is given more than once"),
        (
            dict(times=["1 s", "1 year"]),
            r"layer .*: time = 3\.15576e\+07: the model of 'reram' has data only from 0",
        ),
        (dict(times=[-1]), "time = -1: must be finite and at least 0"),
        (dict(compensation=("none", None)), "'none' is given more than once"),
        (dict(on_progress=3), "on_progress = 3: must be a function"),
        (dict(metric=3), "metric = 3: must be a function"),
        (dict(model=nn.Dense(3)), "the model has no analog layer"),
    ],
)
def test_evaluate_programs_no_chip_for_what_it_refuses(forbidden, change, message):
    forbidden(evaluating, "_first_chip_and_digital")
    forbidden(evaluating, "score_digital")
    given = dict(model=LAYER, variables=VARIABLES, x=X, labels=LABELS, key=KEY, times=["1 s"]) | change
    with pytest.raises(InputError, match=message):
        evaluate(**given)


def test_calibrate_refuses_missing_ranges_with_the_first_layer(forbidden):
    from analogsim.chips import adc_inputs

    forbidden(adc_inputs.MagnitudeSample, "add")
    with pytest.raises(InputError, match=r"keep_inputs = True: layer .* has no input range; calibrate it first"):
        calibrate(LAYER, VARIABLES, X, keep_inputs=True)


@pytest.mark.parametrize("name", ["loss", "teacher", "on_epoch"])
def test_fine_tune_trains_nothing_for_what_it_refuses(forbidden, name):
    tuning = sys.modules["analogsim.training.fine_tune"]  # the module, behind the function of its name
    forbidden(tuning, "make_step")
    with pytest.raises(InputError, match=f"{name} = 3: must be a function {name}"):
        fine_tune(LAYER, VARIABLES, X, LABELS, key=KEY, **{name: 3})


def test_compare_counts_nothing_for_what_it_refuses(forbidden):
    from analogsim.energy import comparison

    forbidden(comparison, "count")
    for change, message in (
        (dict(deployment=3), "deployment = 3: must be an energy.Deployment"),
        (dict(batch=[]), "must hold at least one batch size"),
        (dict(systems=["H1000"]), "H1000"),
    ):
        with pytest.raises(InputError, match=message):
            comparison.compare(LAYER, VARIABLES, X, **change)


def test_sweep_refuses_executors_and_files_before_scores(forbidden, tmp_path):
    from analogsim.sweeps import results

    forbidden(results, "empty_dataset")
    how = dict(over={"adc.bits": [4]}, key=KEY, chips=1)
    with pytest.raises(InputError, match="executor = 3: must have submit"):
        sweep(lambda hardware, key: 1.0, preset("pcm"), executor=3, **how)
    (tmp_path / "r.nc").write_text("no netCDF")
    with pytest.raises(InputError, match=r"r\.nc: cannot be read as netCDF"):
        sweep(lambda hardware, key: 1.0, preset("pcm"), path=tmp_path / "r.nc", **how)


def test_a_page_is_not_drawn_where_it_cannot_be_written(forbidden, tmp_path):
    forbidden(report, "figure")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*/file: cannot write there"):
        report.write(sweep_results({BITS: (4,)}, chips=3), tmp_path / "file" / "r.html")


def test_commands_refuse_before_they_train_or_price(forbidden, tmp_path):
    from analogsim.cli import energy as energy_command
    from analogsim.cli import train as train_command
    from analogsim.training.recipes.sweep_file import SweepFile

    forbidden(energy_command, "_compare")
    forbidden(train_command, "run_recipe")
    forbidden(SweepFile, "scores")
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "network").mkdir(parents=True)
    (tmp_path / "out" / "network" / "mine").write_text("")
    command_line = command("sweep", "--example")[1]
    (tmp_path / "s.toml").write_text(command_line)
    (tmp_path / "r.nc").write_text("")
    for arguments, message in (
        (("energy", "--out", tmp_path / "file"), "file: cannot write there"),
        (("train", "--recipe", "lenet", "--out", tmp_path / "out"), "network: is not a checkpoint"),
        (("sweep", tmp_path / "s.toml", "--out", tmp_path / "r.nc"), "r.nc: cannot be read as netCDF"),
        (("sweep", tmp_path / "s.toml", "--out", tmp_path / "r.nc", "--no-resume"), "r.nc: already exists"),
        (("sweep", tmp_path / "s.toml", "--out", tmp_path / "file" / "r.nc"), "r.nc: cannot be written there"),
        (
            ("quickstart", "--seed", 2**63, "--out", tmp_path / "q"),
            "--seed 9223372036854775808: must be an integer between",
        ),
    ):
        status, _, errors = command(*arguments)
        assert (status, message in errors) == (2, True), errors


def test_a_recipe_is_refused_before_a_network_is_trained(forbidden, monkeypatch):
    from analogsim.training.recipes import load_recipe
    from analogsim.training.recipes import run as run_recipe

    forbidden(run_recipe, "fine_tune")
    few = types.SimpleNamespace(x=X, classes=3)
    monkeypatch.setattr(run_recipe, "load", lambda name: few)
    recipe = load_recipe("lenet")
    late = dataclasses.replace(recipe, hardware=preset("reram"))
    large = dataclasses.replace(recipe, aware=recipe.aware.replace(batch_size=10**6))
    for one, message in (
        (late, "the model of 'reram' has data only from 0"),
        (large, r"\[aware\] batch_size = 1000000: must be at most"),
    ):
        with pytest.raises(InputError, match=message):
            run_recipe.run_recipe(one, key=KEY)
