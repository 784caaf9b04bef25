"""The command line: the main job, help, and mistakes that are one sentence."""

import json
import re
import subprocess
import sys

import pytest

from analogsim import presets


def analogsim(*arguments, **options):
    command = [sys.executable, "-m", "analogsim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart")
    done = analogsim("quickstart", "--fast", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_quickstart_writes_a_report_that_needs_nothing_else(smoke):
    out, text = smoke
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # two figures, each for a desk and for a phone
    assert not re.search(r'(src|href)="(?!data:)', page)  # opens offline
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.S).replace("http-equiv", "")
    for word in ("hardware-aware", "10 years", "H100", "Eyeriss", "brain", "What is and is not modelled"):
        assert word.lower() in page.lower(), word
    assert "smoke run" in text.lower()


def test_quickstart_results_are_labelled(smoke):
    import xarray

    data = xarray.load_dataset(smoke[0] / "results.nc", engine="h5netcdf")
    assert dict(data.score.sizes) == {"seed": 1, "network": 2, "compensation": 2, "chip": 8, "time": 6}
    assert data.time.attrs["units"] == "s"
    assert list(data.time_label.values) == ["1 s", "1 h", "1 day", "1 month", "1 year", "10 years"]
    assert 0.5 < float(data.digital.min()) <= 1
    assert data.attrs["key"] == 0
    assert "PCM" in data.attrs["hardware"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quickstart", "--chips", "0"), "--chips 0: must be at least 1"),
        (("quickstart", "--seeds", "-3"), "--seeds -3: must be at least 1"),
        (("quickstart", "--fast", "--out", "/proc/nowhere"), "--out /proc/nowhere: cannot write there"),
        (("show", "pmc"), "unknown preset 'pmc'; did you mean 'pcm'?"),
        (("cite", "pmc"), "unknown preset 'pmc'; did you mean 'pcm'?"),
        (("cite", "pcm", "--bibtex", "--json"), "--bibtex, --json: give one of them"),
    ],
)
def test_mistakes_are_one_sentence_without_a_traceback(arguments, message):
    done = analogsim(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_presets_and_version():
    assert "quickstart" in analogsim("--help").stdout
    assert set(json.loads(analogsim("presets", "--json").stdout)) == set(presets())
    assert "g_max = 25 µS" in analogsim("show", "pcm").stdout
    assert analogsim("--version").stdout.startswith("analogsim ")
    assert analogsim("quickstart", "--chip", "3").returncode == 2  # an unknown option


def test_json_of_the_quickstart_is_for_scripts(tmp_path):
    done = analogsim("quickstart", "--fast", "--chips", "2", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["report"] == str(tmp_path / "report.html")
    assert len(found["accuracy_percent"]) == 2 * 2 * 6
    assert {row["network"] for row in found["accuracy_percent"]} == {"plain", "hardware-aware"}
    assert "Smoke run" in done.stderr
    again = analogsim("report", tmp_path / "results.nc", "--out", tmp_path / "page.html", "--json")
    assert json.loads(again.stdout) == {"page": str(tmp_path / "page.html")}
    assert "lenet" in json.loads(analogsim("recipes", "--json").stdout)
