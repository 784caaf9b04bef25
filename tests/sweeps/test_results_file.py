"""A results file: killed at any moment and continued, refused where it is another's, never damaged."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray
from sweep_jobs import HARDWARE, OVER, numbers, slow

from analogsim import InputError, sweep
from analogsim.sweeps import NotWritten, load_results, save_results
from analogsim.sweeps.results import ResultsFile

JOB = Path(__file__).parent / "sweep_jobs.py"


def run_job(path, trace, **options):
    environment = os.environ | {"SWEEP_TRACE": str(trace), "XLA_FLAGS": ""}
    with open(trace.with_name("errors"), "wb") as errors:
        return subprocess.Popen([sys.executable, str(JOB), str(path)], env=environment, stderr=errors, **options)


def small(path, **change):
    given = dict(over=OVER, chips=2, key=jax.random.key(3), progress=False, path=path) | change
    return sweep(numbers, given.pop("hardware", HARDWARE), **given)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "r.nc"
    small(path)
    return path.read_bytes()


@pytest.fixture
def finished(tmp_path, whole_file):
    """A file of a finished sweep, the test's own."""
    path = tmp_path / "r.nc"
    path.write_bytes(whole_file)
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The job in one go."""
    folder = tmp_path_factory.mktemp("whole")
    done = run_job(folder / "results.nc", folder / "trace")
    assert done.wait(timeout=120) == 0, (folder / "errors").read_text()
    assert len((folder / "trace").read_text().splitlines()) == 48
    return folder / "results.nc"


def test_a_file_has_the_same_numbers_whoever_writes_it(uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_TRACE", str(tmp_path / "trace"))
    sweep(slow, HARDWARE, over=OVER, chips=8, key=jax.random.key(3), path=tmp_path / "r.nc", compiled=False,
          progress=False)  # fmt: skip
    ours, theirs = load_results(tmp_path / "r.nc"), load_results(uninterrupted)
    xarray.testing.assert_equal(ours, theirs)


def test_killed_at_random_moments_and_continued_it_ends_as_if_never_killed(uninterrupted, tmp_path):
    path, trace = tmp_path / "results.nc", tmp_path / "trace"
    choose, kills = random.Random(7), 0
    for _ in range(20):
        process = run_job(path, trace, start_new_session=True)
        before = len(trace.read_text().splitlines()) if trace.exists() else 0
        wanted = before + choose.randrange(8, 34)
        while process.poll() is None and (len(trace.read_text().splitlines()) if trace.exists() else 0) < wanted:
            time.sleep(choose.uniform(0.001, 0.01))
        if process.poll() is not None:
            assert process.returncode == 0, (tmp_path / "errors").read_text()
            if kills >= 2:
                break
            for file in (path, trace):  # it was too fast to be killed twice: from the start again
                file.unlink()
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        if path.exists():  # at every moment a whole file
            partial = load_results(path)
            assert int(partial["done"].sum()) == int(np.isfinite(partial["sum"]).sum())
    else:
        pytest.fail("the sweep never ended")
    assert path.read_bytes() == uninterrupted.read_bytes()


def test_what_is_done_is_not_computed_again(tmp_path, monkeypatch):
    """Of a file with half of the chips, only the other half is computed."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("SWEEP_TRACE", str(trace))
    how = dict(over=OVER, chips=4, key=jax.random.key(3), compiled=False, progress=False, path=tmp_path / "r.nc")
    whole = sweep(slow, HARDWARE, **how)
    half = whole.copy(deep=True)
    half["done"] = (("store.cell.programming_noise", "adc.bits", "chip"), np.arange(24).reshape(2, 3, 4) % 2 == 0)
    for name in ("sum", "draw"):
        half[name] = half[name].where(half["done"])
    half.attrs["complete"] = np.int64(0)
    save_results(half, tmp_path / "r.nc")
    trace.unlink()
    again = sweep(slow, HARDWARE, **how)
    computed = [float(line) for line in trace.read_text().splitlines()]
    missing = whole["sum"].values.reshape(-1)[1::2]
    np.testing.assert_allclose(sorted(computed), sorted(missing), rtol=1e-6)
    xarray.testing.assert_identical(again, whole)


def test_a_finished_file_is_read_and_nothing_computed(tmp_path, finished):
    first = small(tmp_path / "first.nc")
    stamp = finished.stat().st_mtime_ns
    xarray.testing.assert_identical(small(finished), first)
    assert finished.stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="already exists"):
        small(finished, resume=False)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(hardware=HARDWARE.replace(**{"adc.noise": 0.1})), "the hardware"),
        (dict(over={"adc.bits": [4, 6]}), "the swept fields"),
        (dict(chips=3), "the number of chips"),
        (dict(key=jax.random.key(4)), "the key"),
    ],
    ids=["hardware", "over", "chips", "key"],
)
def test_a_file_of_other_inputs_is_refused_and_left_as_it_is(finished, change, word):
    before = finished.read_bytes()
    with pytest.raises(InputError, match=rf"r\.nc: holds a sweep that differs in {word};"):
        small(finished, **change)
    assert finished.read_bytes() == before


def test_a_changed_function_is_other_input(tmp_path):
    path, factor = tmp_path / "r.nc", 2.0
    how = dict(over={"adc.bits": [4]}, chips=1, key=jax.random.key(0), progress=False, path=path)
    sweep(lambda hardware, key: factor * hardware.adc.bits, HARDWARE, **how)
    sweep(lambda hardware, key: factor * hardware.adc.bits, HARDWARE, **how)  # elsewhere in the file: the same code
    for other in (
        lambda hardware, key: 3 * factor * hardware.adc.bits,
        lambda hardware, key: factor + hardware.adc.bits,
    ):
        with pytest.raises(InputError, match="the measurement"):
            sweep(other, HARDWARE, **how)
    factor = 2.5
    with pytest.raises(InputError, match="the measurement"):
        sweep(lambda hardware, key: factor * hardware.adc.bits, HARDWARE, **how)


def test_damaged_and_foreign_files_are_refused_and_kept(tmp_path, finished):
    path, whole = finished, finished.read_bytes()
    for damaged in (b"", b"not netCDF at all", whole[: len(whole) // 2], b"\0" * 512 + whole[512:]):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"r\.nc: .*(cannot be read as netCDF|is not a results file|the file is damaged)"
        ):
            small(path)
        assert path.read_bytes() == damaged
    path.unlink()
    xarray.Dataset({"score": ("chip", [1.0])}).to_netcdf(path, engine="h5netcdf")
    foreign = path.read_bytes()
    with pytest.raises(InputError, match="is not a results file of a sweep; it is unchanged"):
        small(path)
    assert path.read_bytes() == foreign
    with pytest.raises(InputError, match="is a folder"):
        small(_made(tmp_path / "folder.nc"))


def _made(folder):
    folder.mkdir()
    return folder


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_computed(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written there \("):
        small("/proc/nowhere/r.nc")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written there"):
        small(tmp_path / "file" / "r.nc")


def test_a_full_disk_leaves_the_file_as_it_was_and_the_numbers_in_hand(tmp_path):
    """A limit on the size of files stands for a full disk: writing fails in the same place."""
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(JOB.parent)!r})
import jax
from sweep_jobs import HARDWARE, numbers
from analogsim import sweep
from analogsim.sweeps import NotWritten
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (120000, resource.RLIM_INFINITY))
try:
    sweep(numbers, HARDWARE, over={{"adc.bits": [4, 6]}}, chips=5000, key=jax.random.key(0), path=sys.argv[1],
          progress=False)
except NotWritten as error:
    print(error, int(error.data["sum"].notnull().sum()))
"""
    path = tmp_path / "r.nc"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert "could not be written" in done.stdout, done.stderr
    assert "free some space and rerun the same sweep" in done.stdout
    assert int(done.stdout.split()[-1]) > 0
    assert list(tmp_path.iterdir()) == []  # neither a torn file nor a temporary one


def test_the_file_names_all_it_was_made_from(finished):
    saved = load_results(finished)
    assert set(json.loads(saved.attrs["inputs"])) == {"evaluate", "hardware", "over", "chips", "key", "software"}
    assert json.loads(saved.attrs["hardware_json"])[0]["adc"]["bits"] == 8
    assert "ReRAM" in saved.attrs["hardware"]
    assert "Wan" in saved.attrs["sources"]
    assert issubclass(NotWritten, InputError)


def test_two_sweeps_do_not_write_one_file(tmp_path):
    file, second = ResultsFile(tmp_path / "r.nc"), ResultsFile(tmp_path / "r.nc")
    with file.exclusive_lock(), pytest.raises(InputError, match="another sweep is writing it"), second.exclusive_lock():
        pass
    with second.exclusive_lock():
        pass
    assert list(tmp_path.iterdir()) == []  # no lock is left


def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.nc"
    link.symlink_to(tmp_path / "real" / "r.nc")
    small(link)
    assert link.is_symlink()
    assert load_results(tmp_path / "real" / "r.nc").attrs["complete"] == 1
    (tmp_path / "real" / "r.nc").chmod(0o600)
    ResultsFile(link).write(load_results(link))
    assert (tmp_path / "real" / "r.nc").stat().st_mode & 0o777 == 0o600


def test_numbers_of_another_precision_are_not_mixed_in(finished):
    with jax.enable_x64(True), pytest.raises(InputError, match="jax's settings"):
        small(finished)


def test_a_finished_file_takes_a_new_title(finished):
    for title in ("old", "new"):
        assert small(finished, title=title).attrs["title"] == title
