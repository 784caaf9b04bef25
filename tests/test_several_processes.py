"""Two processes, each with two devices, compute what one process with four devices does, and gather nothing."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.support import sharded

ROOT = pathlib.Path(__file__).parent.parent
LIMIT_S = 240  # of a machine under load; the processes need about ten seconds
KERNEL = sharded.HIDDEN * sharded.CLASSES  # the smaller one


def _started(address: str, number: int, folder: pathlib.Path) -> subprocess.Popen:
    devices = "--xla_force_host_platform_device_count="
    flags = re.sub(devices + r"\d+", "", os.environ.get("XLA_FLAGS", "")) + f" {devices}2"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.sharded", address, "2", str(number), str(folder)],
        cwd=ROOT, env={**os.environ, "XLA_FLAGS": flags}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone_and_together(tmp_path_factory):
    """Arrays and collectives of this process, and the folder with those of the two."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [_started(address, number, folder) for number in range(2)]
    try:
        alone = sharded.run(jax.devices()[:4])
        # The first waits for the second at its end, so that their order does not matter.
        printed = [process.communicate(timeout=LIMIT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)[-6000:]
    return alone, folder


def test_the_same_numbers_each_on_its_own_devices(alone_and_together):
    (arrays, _), folder = alone_and_together
    of_processes = [dict(np.load(folder / f"{number}.npz")) for number in range(2)]
    seen = dict.fromkeys(arrays, 0)
    for parts in of_processes:
        for label, part in parts.items():
            name, corner = label.rsplit(" [", 1)
            start = [int(n) for n in corner.rstrip("]").split(",") if n]
            whole = np.asarray(arrays[name])[tuple(slice(i, i + n) for i, n in zip(start, part.shape, strict=True))]
            np.testing.assert_allclose(part, whole, rtol=2e-5, atol=2e-6 * max(1.0, float(np.abs(whole).max())))
            seen[name] += part.size
    missing = [name for name, array in arrays.items() if seen[name] < array.size]
    assert not missing


def test_no_device_holds_a_whole_kernel_or_chip(alone_and_together):
    (arrays, _), folder = alone_and_together
    large = {name for name, array in arrays.items() if array.size >= KERNEL}
    assert any("conductance" in name for name in large)
    assert any("updated" in name for name in large)
    for number in range(2):
        for label, part in np.load(folder / f"{number}.npz").items():
            name = label.rsplit(" [", 1)[0]
            assert name not in large or 2 * part.size == arrays[name].size, name


def test_programs_only_add_between_devices(alone_and_together):
    """As the plain network does: sums over the rows of a kernel, and gradients over examples."""
    (_, here), folder = alone_and_together
    for sent in (here, *(json.loads((folder / f"{number}.json").read_text()) for number in range(2))):
        assert {kind for found in sent.values() for kind, _ in found} <= {"all-reduce"}, sent
        assert all(size < KERNEL // 2 for name in ("program", "read", "forward") for _, size in sent[name]), sent
        assert sent["forward"], "the second kernel is cut along its rows, whose products must be added"
