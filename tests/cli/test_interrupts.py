"""Ctrl-C ends every command within two seconds, in whatever it does, and leaves nothing half-done."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import typer.core

from analogsim.base import files, starting
from analogsim.cli import app as cli
from analogsim.cli import interrupts

ROOT = pathlib.Path(cli.__file__).parents[1]
LIMIT_S = 4  # two seconds on a machine that does nothing else; tests run beside others

#: A process that comes to the moment at which it is interrupted, says so, and would go on for minutes.
_BUSY = """
import hashlib, os, pathlib, sys, time, types
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(sys.argv[1])
for name, place in (("analogsim", ROOT), ("analogsim.devices", ROOT / "devices")):  # without jax
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(place)]
from analogsim.base import files
from analogsim.cli import interrupts

def say():
    print("busy", flush=True)

def in_c():
    '''One call that lets other threads run and hears of no signal, as XLA does.'''
    say()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

def in_python():
    say()
    time.sleep(100)

def writing():
    files.write("kept.txt", "whole")
    os.fsync = lambda descriptor: in_c()
    files.write("torn.txt", "half")

def writing_a_folder():
    with files.temporary_sibling(pathlib.Path("checkpoint").resolve(), "partial") as folder:
        (folder / "arrays").mkdir(parents=True)
        (folder / "arrays" / "half").write_text("half")
        in_c()

def a_thread():
    '''A pool that waits for its threads when it is left.'''
    with ThreadPoolExecutor() as pool:
        pool.submit(in_c).result()

def processes():
    with interrupts.pool_of_processes(1) as pool:
        pool.submit(time.sleep, 0).result()
        pathlib.Path("child").write_text(str(next(iter(pool._processes))))
        future = pool.submit(time.sleep, 100)
        say()
        future.result()

if __name__ == "__main__":
    with interrupts.heard():
        try:
            globals()[sys.argv[2]]()
        except KeyboardInterrupt as stopped:
            interrupts.leave(stopped)
"""
_NOTHING = "analogsim: stopped; nothing was written and existing files are unchanged\n"


def interrupted(process):
    """Status, errors and seconds of a process that was interrupted when it said that it is busy."""
    assert process.stdout.readline() == "busy\n", process.communicate(timeout=60)
    time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    started = time.perf_counter()
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors, time.perf_counter() - started


def start(folder, *arguments, path=ROOT.parent):
    # A shell that runs tests in the background has them ignore Ctrl-C, and so would all that they start. What is
    # handled here is back at its default there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env=os.environ | {"PYTHONPATH": str(path)},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("phase", ["in_python", "in_c", "writing", "writing_a_folder", "a_thread", "processes"])
def test_a_process_ends_in_two_seconds_wherever_it_is(tmp_path, phase):
    (tmp_path / "busy.py").write_text(_BUSY)
    status, errors, seconds = interrupted(start(tmp_path, "busy.py", ROOT, phase))
    assert (status, errors) == (130, "analogsim: stopped; saved: kept.txt\n" if phase == "writing" else _NOTHING)
    assert seconds < LIMIT_S
    left = {path.name for path in tmp_path.iterdir()} - {"busy.py", "__pycache__"}
    assert left == {"writing": {"kept.txt"}, "processes": {"child"}}.get(phase, set())
    if phase == "processes":
        assert is_gone(int((tmp_path / "child").read_text()))


def is_gone(pid):
    """Whether a process ends within a second; what has ended and waits for its parent has."""
    for _ in range(100):
        stat = pathlib.Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_command_that_xla_computes_ends_in_two_seconds(tmp_path):
    """And so does the interpreter, while threads of XLA are at work."""
    (tmp_path / "xla.py").write_text("""
import sys
import jax, jax.numpy as jnp
import analogsim.cli.app

def presets():
    long = jax.jit(lambda x: jax.lax.fori_loop(0, 2**31 - 1, lambda i, x: jnp.sin(x) + i, x)).lower(1.0).compile()
    print("busy", flush=True)
    long(1.0).block_until_ready()

analogsim.presets = presets
sys.argv = ["analogsim", "presets"]
analogsim.cli.app.main()
""")
    status, errors, seconds = interrupted(start(tmp_path, "xla.py"))
    assert (status, errors) == (130, _NOTHING)
    assert seconds < LIMIT_S


@pytest.mark.parametrize("how", ["module", "script"])
def test_a_command_that_still_loads_ends_with_a_line(tmp_path, how):
    """With a jax that takes minutes to load."""
    (tmp_path / "jax.py").write_text("import time\nprint('busy', flush=True)\ntime.sleep(100)\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "analogsim").write_text("from analogsim.cli.app import main\nmain()\n")  # as pip writes it
    path = os.pathsep.join(map(str, (tmp_path, ROOT.parent)))
    begun = ["-m", "analogsim"] if how == "module" else ["bin/analogsim"]
    process = start(tmp_path, *begun, "presets", path=path)
    status, errors, seconds = interrupted(process)
    assert (status, errors) == (130, "analogsim: stopped before it began\n")
    assert seconds < LIMIT_S


def test_other_programs_keep_their_tracebacks():
    assert sys.excepthook is not starting._stopped
    for program, original, expected in (
        ("/usr/bin/analogsim", [], True),
        ("C:/Scripts/analogsim.exe", [], True),
        ("-m", ["python", "-m", "analogsim", "presets"], True),
        (str(ROOT / "__main__.py"), [], True),
        ("-m", ["python", "-m", "pytest", "analogsim"], False),
        ("train.py", ["python", "train.py", "-m", "analogsim"], False),
        ("", ["python"], False),
    ):
        with mock.patch.object(sys, "argv", [program]), mock.patch.object(sys, "orig_argv", original):
            assert starting.is_command() == expected, program


#: What a command needs beside its name to be begun.
_ARGUMENTS = {
    "train": ["--recipe", "lenet"],
    "report": ["r.nc"],
    "show": ["pcm"],
    "cite": ["pcm"],
    "sweep": ["my.toml"],
}


@pytest.mark.parametrize("name", [c.name or c.callback.__name__ for c in cli.app.registered_commands])
def test_every_command_is_heard(name):
    """Whatever a command does, a thread listens beside it, and an interrupt that reaches it ends in one place."""
    descriptors, ends = [], []

    def work(self, ctx):
        descriptors.append(signal.set_wakeup_fd(-1))
        raise KeyboardInterrupt("words of its own")

    def end(stopped):
        ends.append(str(stopped))
        raise SystemExit(interrupts.STATUS)

    with (
        mock.patch.object(typer.core.TyperCommand, "invoke", work),
        mock.patch.object(interrupts, "leave", end),
        mock.patch.object(sys, "argv", ["analogsim", name, *_ARGUMENTS.get(name, [])]),
        pytest.raises(SystemExit) as stop,
    ):
        cli.main()
    assert (stop.value.code, ends) == (130, ["words of its own"])
    assert descriptors[0] != -1
    assert signal.set_wakeup_fd(-1) == -1  # and no more afterwards


def test_the_line_says_what_is_kept_and_what_to_do(tmp_path, capfd):
    with mock.patch.object(interrupts, "_exit") as ended, interrupts.heard():
        files.write(tmp_path / "a.nc", b"")
        interrupts.advise("run it again")
        interrupts.leave()
        interrupts.leave()  # by the command and by the listener: one line
    assert capfd.readouterr().err == f"analogsim: stopped; saved: {tmp_path / 'a.nc'}; run it again\n"
    assert ended.call_args_list == [mock.call(130)] * 2
