"""Files are written whole or not at all, by one helper, and every writer goes through it."""

import errno
import os
import pathlib
import re
import stat
import subprocess
import sys
import types
from unittest import mock

import pytest

import analogsim
from analogsim import InputError, report
from analogsim.base import files
from analogsim.sweeps import save_results
from tests.support.sweep_results import BITS, sweep_results

ROOT = pathlib.Path(analogsim.__file__).parent


@pytest.fixture
def full_disk(monkeypatch):
    """What is written reaches the neighbour, and the disk is full before all of it is there."""

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)


def test_a_full_disk_leaves_the_old_file_and_no_neighbour(tmp_path, full_disk):
    old = tmp_path / "a.html"
    old.write_text("old")
    for name, kept in (("a.html", "; the existing file is unchanged"), ("b.html", "")):
        message = rf"^--out .*{name}: cannot write there \(No space left on device\){kept}$"
        with pytest.raises(InputError, match=message):
            files.write(tmp_path / name, "new", "--out ")
    assert old.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.html"]


@pytest.mark.parametrize("place", ["open", "replace"])
def test_wherever_it_fails_nothing_is_left(tmp_path, monkeypatch, place):
    (tmp_path / "a").write_text("old")

    def failing(*arguments, **options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*((pathlib.Path, "open") if place == "open" else (files.os, "replace")), failing)
    with pytest.raises(OSError, match="Input/output error"):
        files.replace(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(descriptor):
        assert any(path.parent == tmp_path for path in files._unfinished)
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.replace(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == []
    assert not files._unfinished


def test_links_are_followed_and_permissions_stay(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    files.replace(tmp_path / "link", "first")  # a link to nothing: the file that it names is made
    (tmp_path / "real" / "a").chmod(0o640)
    files.replace(tmp_path / "link", "µ")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == "µ".encode()
    assert stat.S_IMODE((tmp_path / "real" / "a").stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        files.replace(tmp_path / "new", "")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640  # as open() makes it: 666 without 027


def test_what_cannot_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    for path, reason in (
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / "none" / "a", "No such file or directory"),
        (tmp_path / "file" / "a", "Not a directory"),
    ):
        with pytest.raises(InputError, match=rf"cannot write there \({reason}\)"):
            files.write(path, "new")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"\(Permission denied\); the existing file is unchanged"):
        files.write(tmp_path / "file", "new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(
        [sys.executable, "-c", f"print(open({str(tmp_path / 'pipe')!r}).read())"], stdout=subprocess.PIPE, text=True
    )
    files.replace(tmp_path / "pipe", "through")
    assert reader.communicate(timeout=30)[0] == "through\n"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def a_page(path):
    report.write(sweep_results({BITS: (4,)}, chips=3), path)


def an_energy_page(path):
    from analogsim.energy import page

    with mock.patch.object(page, "sections", return_value=[("Systems", "<p>one</p>")]):
        page.write(path, [types.SimpleNamespace(system="pcm")], types.SimpleNamespace(macs=1), ())


def a_devices_figure(path):
    from analogsim.cli import devices as device_report

    device_report.show_one("pcm", path.parent)


def a_results_file(path):
    save_results(sweep_results({BITS: (4,)}, chips=3), path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(a_page, "r.html"), (an_energy_page, "e.html"), (a_devices_figure, "device-pcm.png"), (a_results_file, "r.nc")],
)
def test_every_writer_leaves_the_old_file_on_a_full_disk(tmp_path, full_disk, write, name):
    """The others are tested where they stand: sweeps, checkpoints, and the commands that call these."""
    (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match=rf"{name}: cannot write there \(No space left on device\); the existing file"):
        write(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert os.listdir(tmp_path) == [name]


#: What writes a file, in whatever way, and where it may stand beside ``files``: probes hold nothing.
_WRITES = re.compile(
    r"open\([^)\n]*[\"'][wax]b?\+?[\"']|write_text|write_bytes|savefig|to_netcdf|to_csv|np\.save|json\.dump\(|"
    r"os\.replace|os\.rename|\.rename\(|shutil\.(copy|move|rmtree)"
)
_ALLOWED = {
    "base/files.py": 99,
    "report/html.py": 1,  # a figure, into memory
    "base/netcdf.py": 1,  # into memory
    "cli/energy.py": 1,  # a table, into memory
    "sweeps/results.py": 1,  # a trial beside a results file
    "chips/checkpoint/folder.py": 1,  # a text within a whole folder, which is renamed
}


def test_every_writer_goes_through_the_helper():
    found = {}
    for room in (ROOT, ROOT / "devices", ROOT / "training"):
        for source in room.rglob("*.py"):
            code = re.sub(r'""".*?"""', "", source.read_text(), flags=re.S)
            hits = len(_WRITES.findall(code))
            name = source.relative_to(ROOT).as_posix()
            if hits > _ALLOWED.get(name, 0):
                found[name] = hits
    assert not found
