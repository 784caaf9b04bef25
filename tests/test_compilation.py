"""How the tests compile: flags that add up, and a cache of compiled programs that can do no harm."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import compilation

ROOT = pathlib.Path(__file__).parent.parent

#: Programs that are compiled, forgotten, and compiled again with what was done to their files meanwhile.
TWICE = """
import pathlib, sys, warnings
from tests import compilation
compilation.set_cache()
import jax
warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
for k, damage in enumerate(sys.argv[2:]):
    before = set(folder.glob("*-cache"))
    f = jax.jit(lambda x: x * 3 + k)
    first = float(f(2.0))
    stored = set(folder.glob("*-cache")) - before
    for file in stored:
        content = file.read_bytes()
        damaged = {"whole": content, "empty": b"", "torn": content[: len(content) // 2], "foreign": b"no program" * 50}
        file.write_bytes(damaged[damage])
    jax.clear_caches()
    hits.clear()
    print(damage, first - k, float(f(2.0)) - k, len(stored), len(hits))
"""


def compiled_twice(folder: pathlib.Path, *damage: str) -> list[str]:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(folder), *damage], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_damaged_cache_only_costs_time(tmp_path):
    found = compiled_twice(tmp_path, "whole", "empty", "torn", "foreign")
    assert found == ["whole 6.0 6.0 1 1", "empty 6.0 6.0 1 0", "torn 6.0 6.0 1 0", "foreign 6.0 6.0 1 0"]


def test_a_file_in_the_place_of_the_cache_only_costs_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert compiled_twice(tmp_path / "file" / "cache", "whole") == ["whole 6.0 6.0 0 0"]


def test_the_folder_is_outside_the_repository_and_says_what_it_is_for(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compilation.cache_folder()
    assert folder.is_relative_to(tmp_path)
    assert not folder.exists()
    assert {"jax", "jaxlib"} < set(folder.name.split("-"))
    monkeypatch.setattr(compilation, "_processor", lambda: "another")
    assert compilation.cache_folder() != folder


def test_given_flags_win():
    given = "--xla_backend_optimization_level=3 --xla_cpu_max_isa=AVX2"
    flags = compilation.with_flags(given, ("--xla_backend_optimization_level=0", "--xla_cpu_use_xnnpack=false"))
    assert flags == given + " --xla_cpu_use_xnnpack=false"
    assert compilation.with_flags("", (compilation.DEVICES,)) == compilation.DEVICES


def test_a_flag_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(compilation, "QUICK", ("--xla_no_such_flag=true",))
    compilation.set_flags(quick=True)
    assert os.environ["XLA_FLAGS"] == compilation.DEVICES


def test_the_cache_is_bounded_and_other_versions_are_forgotten(tmp_path):
    here, old, recent = (tmp_path / name for name in ("jax-2", "jax-1", "jax-3"))
    for folder in (here, old, recent):
        folder.mkdir()
    for age, name in enumerate("abcd"):
        (here / f"{name}-cache").write_bytes(bytes(100))
        os.utime(here / f"{name}-cache", (1e9 - age, 1e9 - age))
    os.utime(old, (1e9, 1e9))
    compilation.bound_cache(here, largest_bytes=250, unused_days=30)
    assert sorted(file.name for file in here.iterdir()) == ["a-cache", "b-cache"]
    assert not old.exists()
    assert recent.exists()


@pytest.mark.slow
def test_what_is_asked_for_is_compiled_as_for_users():
    """In workers, too, which do not see the -m that asked for it."""
    assert not [flag for flag in compilation.QUICK if flag in os.environ["XLA_FLAGS"]]
