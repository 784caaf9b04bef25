"""The command line: the main job, help, and mistakes that are one sentence."""

import contextlib
import io
import json
import re
import subprocess
import sys
from unittest import mock

import pytest

from analogsim import presets
from analogsim.cli import app as cli


def analogsim(*arguments):
    """Run a command in this process: exit status, output, errors."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["analogsim", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as stop,
    ):
        cli.main()
    return stop.value.code or 0, out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """What the quickstart wrote and printed, for people and for scripts. The second run compiles nothing new."""
    folder = tmp_path_factory.mktemp("quickstart")
    arguments = ("quickstart", "--fast", "--chips", "3", "--out", folder)
    for_people, for_scripts = analogsim(*arguments), analogsim(*arguments, "--json")
    assert for_people[0] == for_scripts[0] == 0, for_people[2] + for_scripts[2]
    return folder, for_people, for_scripts


def test_quickstart_writes_a_report_that_needs_nothing_else(smoke):
    out, (_, text, _), _ = smoke
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # two figures, each for a desk and for a phone
    assert not re.search(r'(src|href)="(?!data:)', page)  # opens offline
    # Without the figures: the letters of their base64 may spell anything.
    words = re.sub(r'<pre>.*?</pre>|data:image/png;base64,[^"]*', "", page, flags=re.S)
    assert "http" not in words.replace("http-equiv", "")
    for word in ("hardware-aware", "10 years", "H100", "Eyeriss", "brain", "What is and is not modelled"):
        assert word.lower() in page.lower(), word
    assert "smoke run" in text.lower()


def test_quickstart_results_are_labelled(smoke):
    import xarray

    data = xarray.load_dataset(smoke[0] / "results.nc", engine="h5netcdf")
    assert dict(data.score.sizes) == {"seed": 1, "network": 2, "compensation": 2, "chip": 3, "time": 6}
    assert data.time.attrs["units"] == "s"
    assert list(data.time_label.values) == ["1 s", "1 h", "1 day", "1 month", "1 year", "10 years"]
    assert 0.5 < float(data.digital.min()) <= 1
    assert data.attrs["key"] == 0
    assert "PCM" in data.attrs["hardware"]


def test_json_of_the_quickstart_is_for_scripts(smoke):
    folder, _, (_, out, errors) = smoke
    found = json.loads(out)
    assert found["report"] == str(folder / "report.html")
    assert len(found["accuracy_percent"]) == 2 * 2 * 6
    assert {row["network"] for row in found["accuracy_percent"]} == {"plain", "hardware-aware"}
    assert "Smoke run" in errors


def test_a_page_is_made_of_the_results(smoke, tmp_path):
    status, out, _ = analogsim("report", smoke[0] / "results.nc", "--out", tmp_path / "page.html", "--json")
    assert status == 0
    assert json.loads(out) == {"page": str(tmp_path / "page.html")}
    assert (tmp_path / "page.html").is_file()


MISTAKES = [
    (("quickstart", "--chips", "0"), "--chips 0: must be at least 1"),
    (("quickstart", "--networks", "-3"), "--networks -3: must be at least 1"),
    (("quickstart", "--fast", "--out", "/proc/nowhere"), "--out /proc/nowhere: cannot write there"),
    (("show", "pmc"), "unknown preset 'pmc'; did you mean 'pcm'?"),
    (("cite", "pmc"), "unknown preset 'pmc'; did you mean 'pcm'?"),
    (("cite", "pcm", "--bibtex", "--json"), "--bibtex, --json: give only one"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_sentence(arguments, message):
    status, out, errors = analogsim(*arguments)
    assert (status, out) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1


def test_a_mistake_in_a_process_of_its_own_has_no_traceback():
    done = subprocess.run([sys.executable, "-m", "analogsim", "show", "pmc"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("analogsim: unknown preset 'pmc'; did you mean 'pcm'?")
    assert done.stderr.count("\n") == 1  # no traceback


def test_help_presets_recipes_and_version():
    assert "quickstart" in analogsim("--help")[1]
    assert set(json.loads(analogsim("presets", "--json")[1])) == set(presets())
    assert "g_max = 25 µS" in analogsim("show", "pcm")[1]
    assert "lenet" in json.loads(analogsim("recipes", "--json")[1])
    assert analogsim("--version")[1].startswith("analogsim ")
    assert analogsim("quickstart", "--chip", "3")[0] == 2  # an unknown option
