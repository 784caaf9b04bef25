"""Sweeps by other processes: the same numbers, and workers that die."""

import concurrent.futures
import multiprocessing
import threading

import jax
import numpy as np
import pytest
from sweep_jobs import HARDWARE, OVER, aged, dies_once, numbers

from analogsim import InputError, sweep
from analogsim.sweeps import load_results

HOW = dict(over=OVER, chips=5, key=jax.random.key(3), progress=False)


@pytest.fixture(scope="module")
def here():
    """In this process."""
    return sweep(numbers, HARDWARE, **HOW)


def test_threads_give_the_same_numbers(here):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = sweep(numbers, HARDWARE, executor=pool, **HOW)
    np.testing.assert_array_equal(found["sum"], here["sum"])


def test_spawned_processes_give_the_same_numbers(here, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        found = sweep(numbers, HARDWARE, executor=pool, path=tmp_path / "r.nc", **HOW)
        over = {"time": ["1 s", "1 day"], "rows": [4, 8]}
        found_aged = sweep(aged, HARDWARE, over=over, chips=2, key=jax.random.key(3), executor=pool, progress=False)
    np.testing.assert_allclose(found["sum"], here["sum"], rtol=1e-6)
    assert load_results(tmp_path / "r.nc").attrs["complete"] == 1
    assert dict(found_aged.score.sizes) == {"time": 2, "rows": 2, "chip": 2}
    assert np.isfinite(found_aged.score).all()


def test_a_pool_that_breaks_is_said_and_what_is_done_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_MARK", str(tmp_path / "mark"))
    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(InputError, match=r"executor: a worker died \(BrokenProcessPool\)"),
    ):
        sweep(dies_once, HARDWARE, executor=pool, compiled=False, path=tmp_path / "r.nc", **HOW)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = sweep(dies_once, HARDWARE, executor=pool, compiled=False, path=tmp_path / "r.nc", **HOW)
    assert found.attrs["complete"] == 1


def test_what_cannot_be_sent_is_said():
    lock = threading.Lock()

    def holds_a_lock(hardware, key):
        return 0.0 * lock.locked() + hardware.adc.bits

    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(InputError, match=r"executor: the sweep cannot be sent to another process"),
    ):
        sweep(holds_a_lock, HARDWARE, executor=pool, **HOW)


def test_dask_repeats_the_work_of_a_worker_that_dies(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    monkeypatch.setenv("SWEEP_MARK", str(tmp_path / "mark"))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = sweep(dies_once, HARDWARE, executor=client, compiled=False, path=tmp_path / "r.nc", **HOW)
    assert (tmp_path / "mark").exists()  # a worker did die
    alone = sweep(numbers, HARDWARE, compiled=False, **HOW)
    np.testing.assert_allclose(found["sum"], alone["sum"], rtol=1e-6)
    assert found.attrs["complete"] == 1
