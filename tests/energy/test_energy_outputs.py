"""What a comparison gives out: rows, files, figures, and the command line."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from analogsim import InputError, plot
from analogsim.cli.app import app
from analogsim.energy import compare, digital_system
from tests.energy.energy_models import mlp

RUN = CliRunner().invoke


@pytest.fixture(scope="module")
def found():
    systems = (
        "H100",
        "H100:int8",
        digital_system("H100", number_format="bf16", weights="bitmask"),
        "Eyeriss",
        "Loihi",
        "brain",
    )
    return compare(*mlp(), systems=systems, batch=(1, 16, 256))


def test_names_of_formats(found):
    assert found.systems == ("pcm", "H100", "H100 int8", "H100 bf16 bitmask", "Eyeriss", "Loihi", "brain")


def test_rows_add_up_to_the_systems(found):
    table = found.to_dataframe()
    sums = table.groupby(["system", "batch"])["energy_typical_j"].sum()
    for breakdown in found.breakdowns:
        assert sums[breakdown.system, breakdown.batch] == pytest.approx(breakdown.energy_typical_j, rel=1e-12)
    assert (table.source != "").all()
    assert (table.energy_low_j <= table.energy_typical_j * (1 + 1e-12)).all()


def test_a_dictionary_is_json(found):
    text = json.dumps(found.to_dict())
    again = json.loads(text)
    assert again["work"]["macs"] == 4736
    assert again["arrays"]["cells"] == 2 * 4736
    assert sum(p["area_m2"] for p in again["arrays"]["parts"]) == pytest.approx(again["arrays"]["area_m2"])
    own = next(s for s in again["systems"] if s["system"] == "pcm")
    assert own["macs_per_s_per_w"] == pytest.approx(4736 / own["energy_typical_j"])


def test_layers_add_up(found):
    table = found.layers_table()
    assert table.row_count == 3  # two layers, and the rest of the model
    assert [str(c) for c in table.columns[0].cells] == ["Dense_0", "Dense_1", "(the rest of the model)"]


def test_power_is_energy_over_time(found):
    breakdown = found.breakdowns[1]
    assert breakdown.power_w == pytest.approx(breakdown.batch * breakdown.energy_typical_j / breakdown.latency_s)
    assert found.breakdowns[-1].power_w is None


def test_a_page_of_its_own(found, tmp_path):
    page = found.to_html(tmp_path / "energy" / "page.html")
    text = page.read_text(encoding="utf-8")
    for words in (
        "Comparison of systems",
        "Energy over the batch size",
        "Energy by component",
        "Not included",
        "data:image/png",
    ):
        assert words in text
    assert "http-equiv" not in text


def test_figures(found):
    bars = found.plot()
    assert len(bars.get_yticklabels()) == 1 + 3 * 4 + 2  # pcm, Loihi and the brain are the same in any batch
    curve = found.plot_batch()
    np.testing.assert_array_equal(curve.get_lines()[1].get_xdata(), [1, 16, 256])
    assert {t.get_text() for t in curve.texts} == set(found.systems)
    with pytest.raises(InputError, match="has one batch size, 1; a curve needs several"):
        plot.energy_batch(compare(*mlp(), systems=(), batch=1))


def test_two_systems_of_one_name_are_refused():
    with pytest.raises(InputError, match="two have the name 'H100'"):
        compare(*mlp(), systems=("H100", digital_system("H100")))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: digital_system("H10"), r"device: unknown device 'H10'; did you mean 'H100'\?"),
        (lambda: digital_system("H100", weights="zip"), "weights: unknown storage 'zip'"),
        (lambda: digital_system("H100", number_format="fp12"), "number_format = 'fp12'"),
        (lambda: compare(*mlp(), systems="H100:int8:zip"), "weights: unknown storage 'zip'"),
        (lambda: compare(*mlp(), systems="brain:int8"), "unknown system 'brain:int8'"),
    ],
)
def test_bad_names(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_command_line(tmp_path):
    done = RUN(app, ["energy", "--model", "lenet", "--systems", "H100,brain", "--batch", "1,8", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "brain" in done.output
    assert (tmp_path / "energy.html").stat().st_size > 10_000
    assert (tmp_path / "energy.csv").read_text().startswith("system,batch,layer")


def test_command_line_json():
    done = RUN(app, ["energy", "--model", "gru", "--batch", "1", "--json", "--inferences", "1e9",
                     "--recalibrate", "1 day"])  # fmt: skip
    found = json.loads(done.output)
    assert {s["system"] for s in found["systems"]} == {"pcm", "H100", "Eyeriss", "brain"}
    assert "drift calibration" in {line["component"] for line in found["items"]}
    assert all(math.isfinite(line["energy_typical_j"]) for line in found["items"])


LINEN_MODEL = """
import flax.linen as nn, jax, jax.numpy as jnp
def build():
    model, x = nn.Dense(3), jnp.ones((2, 7))
    return model, model.init(jax.random.key(0), x), x
"""
NNX_MODEL = """
import jax.numpy as jnp
from flax import nnx
def build():
    return nnx.Linear(7, 3, rngs=nnx.Rngs(0)), None, jnp.ones((2, 7))
"""


@pytest.mark.parametrize("source", [LINEN_MODEL, NNX_MODEL], ids=["linen", "nnx"])
def test_command_line_takes_a_model_from_a_file(tmp_path, source):
    file = tmp_path / "mine.py"
    file.write_text(source)
    done = RUN(app, ["energy", "--model", f"{file}:build", "--json", "--batch", "1", "--systems", "H100"])
    assert json.loads(done.output)["work"]["macs"] == 21


def test_command_line_lists_what_there_is():
    text = RUN(app, ["energy", "--list"]).output
    for words in ("TPU v4", "msfp12", "run_length", "resnet50"):
        assert words in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "one"], "--batch one: must be comma-separated integers"),
        (["--model", "lenett"], "did you mean 'lenet'"),
        (["--model", "nowhere.py:build"], "there is no such file"),
        (["--recalibrate", "1 day"], "--recalibrate: needs --inferences"),
        (["--hardware", "pmc"], "unknown preset 'pmc'"),
    ],
)
def test_bad_options(options, message):
    done = RUN(app, ["energy", *options])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
