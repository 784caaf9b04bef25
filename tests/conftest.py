"""What every test shares: how it is compiled, how much memory a worker may keep, and fixtures."""

import contextlib
import ctypes
import gc
import os
import pathlib
import sys

from tests import compilation

# Before jax starts, and in the first process alone: workers inherit its environment, but not what was asked for by -m.
if "PYTEST_XDIST_WORKER" not in os.environ:
    compilation.set_flags(quick="-m" not in sys.argv)
    compilation.set_cache()

import hypothesis
import jax
import pytest

# The same examples everywhere and every time: a change is judged by what it changes.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):  # once, not in every worker
        with contextlib.suppress(OSError):  # another run may delete the same files
            compilation.bound_cache(compilation.cache_folder())


@pytest.fixture
def key():
    """One fixed key; tests fold in their own numbers."""
    return jax.random.key(20)


@pytest.fixture(autouse=True)
def float16_where_it_compiles(request):
    """Skip cases of the dtype float16 for processors that XLA does not compile it for."""
    values = getattr(getattr(request.node, "callspec", None), "params", {}).values()
    if any(value is jax.numpy.float16 for value in values) and not compilation.compiles_float16():
        pytest.skip("XLA does not compile float16 for this instruction set")


#: Folders whose tests run under JAX's strict settings. Elsewhere tests build models as users do, in the standard mode.
STRICT = ("converters", "devices", "reference", "signal_path")


@pytest.fixture(autouse=True, scope="module")
def strict_promotion(request):
    """Raise where arithmetic mixes dtypes or ranks implicitly."""
    folder = request.path.relative_to(pathlib.Path(__file__).parent).parts[0]
    with contextlib.ExitStack() as stack:
        if folder in STRICT:
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        yield


#: What a worker may hold at the end of a module before it forgets what it compiled.
LARGEST_MAPS = 20_000
LARGEST_BYTES = 1.5e9


@pytest.fixture(autouse=True, scope="module")
def bounded_compilations():
    """Forget what was compiled once it takes much memory; the compilation cache has most of it.

    Every compiled program keeps some memory maps. A process that runs out of them (65,530 on Linux) dies while
    compiling.
    """
    yield
    process = pathlib.Path("/proc/self")
    if not process.exists():
        return
    resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if resident > LARGEST_BYTES or (process / "maps").read_bytes().count(b"\n") > LARGEST_MAPS:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # only glibc keeps freed memory, and has this
            ctypes.CDLL(None).malloc_trim(0)
