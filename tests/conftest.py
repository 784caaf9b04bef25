"""Strict JAX settings for every test, and the fixtures they share."""

import gc
import os
import pathlib
import sys

# Before jax starts: several CPU devices, so that sharding can be tested anywhere. Small tests spend their time in the
# compiler and get little of it; statistics and timings, which are asked for by -m, run as compiled for users.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8" + ("" if "-m" in sys.argv else " --xla_backend_optimization_level=0"),
)

import hypothesis
import jax
import pytest

# The same examples everywhere and every time: a change is judged by what it changes.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

jax.config.update("jax_numpy_rank_promotion", "allow")


@pytest.fixture
def key():
    """One fixed key; tests fold in their own numbers."""
    return jax.random.key(20)


@pytest.fixture(autouse=True, scope="module")
def bounded_compilations():
    """Forget what was compiled once it takes many memory maps.

    Every compiled program keeps some mapped. A process that runs out of them (65,530 on Linux) dies while compiling.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 20_000:
        jax.clear_caches()
        gc.collect()
