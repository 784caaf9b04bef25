"""How tests compile: little optimised, and each program once a machine.

About nine tenths of the suite's time goes into tracing, lowering and compiling small programs, so:

- ordinary tests get little of the compiler (``QUICK``); what is asked for by ``-m`` (statistics, timings) and what runs
  outside pytest is compiled as for users;
- compiled programs are kept in ``cache_folder()`` for the next run and for the other worker of this one. The folder is
  outside the repository, named after everything that a stored program depends on, and may be deleted at any time.

Run as a program it prints the folder, for ``.ci/run``.
"""

import functools
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version

#: Sharding is tested on any machine.
DEVICES = "--xla_force_host_platform_device_count=8"
#: Halves the compiler's time: no LLVM optimisation, no MLIR emitters for fusions, one module a program.
QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_use_xnnpack=false",
)
LARGEST_BYTES = 2 * 2**30
UNUSED_DAYS = 30


def cache_folder() -> pathlib.Path:
    """The user's cache folder for programs of this jax, jaxlib and processor; it need not exist."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    name = f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{_processor()}"
    return pathlib.Path(root) / "analogsim" / "compiled-tests" / name


def _processor() -> str:
    """A short name of the instruction sets that code is generated for."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        about = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:  # not Linux
        about = [platform.processor(), platform.machine()]
    return f"{platform.machine()}-{hashlib.sha256(repr(about).encode()).hexdigest()[:12]}"


def with_flags(given: str, wanted: tuple[str, ...]) -> str:
    """XLA's flags with the wanted ones added; a flag that is given already keeps its value."""
    names = {flag.split("=")[0] for flag in given.split()}
    return " ".join([given, *(flag for flag in wanted if flag.split("=")[0] not in names)]).strip()


def set_flags(quick: bool) -> None:
    """Set XLA_FLAGS, which worker processes inherit. Before jax starts."""
    given = os.environ.get("XLA_FLAGS", "")
    flags = with_flags(given, (DEVICES, *QUICK) if quick else (DEVICES,))
    # XLA ends the process at a flag that it does not know, and flags come and go between releases.
    if flags != given and not (quick and _known(flags)):
        flags = with_flags(given, (DEVICES,))
    os.environ["XLA_FLAGS"] = flags


def _known(flags: str) -> bool:
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    tried = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=environment, capture_output=True, check=False
    )
    return tried.returncode == 0


def set_cache() -> None:
    """Keep compiled programs, as far as the folder can be written; another folder may be given as jax takes it."""
    folder = pathlib.Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or cache_folder())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return
    except OSError:  # a file in its place, a read-only home: every program is compiled
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def bound_cache(folder: pathlib.Path, largest_bytes: int = LARGEST_BYTES, unused_days: float = UNUSED_DAYS) -> None:
    """Delete folders of other versions that were not used for long, and programs beyond a total size, oldest first."""
    oldest = time.time() - unused_days * 86400
    for other in folder.parent.glob("jax-*"):
        if other != folder and other.stat().st_mtime < oldest:
            shutil.rmtree(other, ignore_errors=True)
    files = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in folder.glob("*-cache")), reverse=True)
    total = 0
    for _, size, file in files:
        total += size
        if total > largest_bytes:
            file.unlink(missing_ok=True)


@functools.cache
def compiles_float16() -> bool:
    """Whether XLA compiles float16: not for processors without F16C (``--xla_cpu_max_isa=SSE4_2``), for which it lacks
    the conversions (``__truncsfhf2``)."""
    import jax

    try:
        jax.jit(lambda x: x.astype("float16"))(1.0)
    except jax.errors.JaxRuntimeError:
        return False
    return True


if __name__ == "__main__":
    print(cache_folder())
