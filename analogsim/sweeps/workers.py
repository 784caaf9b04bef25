"""Who computes the blocks: this process, any executor of ``concurrent.futures``, or Dask's workers.

An executor gets blocks as tasks: the job, and which items. A worker compiles a structure once and keeps it. No
scheduling of our own: an executor hands out tasks as it does, Dask also repeats those of a worker that died.
"""

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from analogsim.base.errors import InputError, brief
from analogsim.sweeps.block import Job, Runner
from analogsim.sweeps.plan import Block

#: How often Dask gives a task of workers that died to others.
_RETRIES = 5


class Computed(NamedTuple):
    """A block's metrics.

    Attributes:
      block: which.
      found: ``{metric: [items(, times)]}``.
      seconds: it took.
      fresh: whether that includes compiling.
    """

    block: Block
    found: dict[str, np.ndarray]
    seconds: float
    fresh: bool


class Workers(Protocol):
    """Computes blocks, several at a time."""

    #: How many blocks are worth having under way.
    in_flight: int

    def submit(self, block: Block) -> None:
        """Start a block."""
        ...

    def next(self) -> Computed:
        """Wait for the next block that is done, in whatever order."""
        ...

    def close(self) -> None:
        """Forget what is under way."""
        ...


class ThisProcess:
    """One block at a time, here."""

    in_flight = 1

    def __init__(self, job: Job, devices: Sequence[Any] | None):
        self._runner, self._waiting = Runner(job, devices), queue.SimpleQueue[Block]()

    def submit(self, block: Block) -> None:
        """Keep it until ``next``."""
        self._waiting.put(block)

    def next(self) -> Computed:
        """Compute it."""
        return _timed(self._runner, self._waiting.get())

    def close(self) -> None:
        """Nothing is under way."""


class OnExecutor:
    """Blocks as tasks of an executor, or of a ``distributed.Client``."""

    def __init__(self, job: Job, executor: Any):
        self._finished: queue.SimpleQueue[tuple[Block, Any]] = queue.SimpleQueue()
        self._under_way: dict[int, Any] = {}
        self._options: dict[str, Any] = {}
        self._name, self._job = uuid.uuid4().hex, job
        self._executor = executor
        if _is_dask(executor):
            with _clear_sending_errors():
                self._job = executor.scatter(job, broadcast=True)
            self._options = {"retries": _RETRIES, "pure": False}
            workers = sum(executor.nthreads().values())
        else:
            workers = getattr(executor, "_max_workers", None) or 4
        self.in_flight = 2 * max(1, workers)  # one that is computed and one that waits for each

    def submit(self, block: Block) -> None:
        """Hand it over."""
        future = self._executor.submit(_compute, self._name, self._job, block, **self._options)
        self._under_way[id(future)] = future
        future.add_done_callback(lambda done, block=block: self._finished.put((block, done)))

    def next(self) -> Computed:
        """The next that is done.

        Raises:
          InputError: where a worker died and the executor does not start another.
        """
        while True:
            try:
                _, future = self._finished.get(timeout=0.2)  # so that Ctrl-C is heard
                break
            except queue.Empty:
                continue
        self._under_way.pop(id(future), None)
        try:
            with _clear_sending_errors():
                return future.result()
        except InputError:
            raise
        except Exception as error:
            if type(error).__name__ in ("BrokenProcessPool", "KilledWorker", "BrokenThreadPool", "CancelledError"):
                raise InputError(
                    f"executor: a worker died ({type(error).__name__}), for want of memory perhaps; what was done is "
                    f"kept: run the same sweep again with a new executor to go on"
                ) from error
            raise

    def close(self) -> None:
        """Cancel what has not begun."""
        for future in list(self._under_way.values()):
            future.cancel()


def _is_dask(executor: Any) -> bool:
    return type(executor).__module__.partition(".")[0] == "distributed" and hasattr(executor, "scatter")


def workers_for(job: Job, executor: Any, devices: Sequence[Any] | None) -> Workers:
    """Who computes, by what the user gave."""
    return ThisProcess(job, devices) if executor is None else OnExecutor(job, executor)


def check_workers(executor: Any, devices: Sequence[Any] | None) -> None:
    """Refuse what cannot compute, before anything is."""
    if executor is None:
        return
    if devices is not None:
        raise InputError("devices: are those of this process; leave them out with an executor")
    if not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"executor = {brief(executor)}: must have submit(function, *arguments), as those of concurrent.futures and "
            f"distributed.Client have"
        )


@contextlib.contextmanager
def _clear_sending_errors() -> Iterator[None]:
    """Says in one sentence that an executor cannot send the sweep to its workers; how is the executor's matter."""
    try:
        yield
    except Exception as error:  # by executor and object: PicklingError, TypeError, AttributeError
        if isinstance(error, InputError) or not any(word in str(error).lower() for word in ("pickle", "serializ")):
            raise
        raise InputError(
            f"executor: the sweep cannot be sent to another process ({str(error).splitlines()[0]}); write evaluate, "
            f"the model's class and the metric in a module that can be imported"
        ) from error


_here = threading.local()


def _compute(name: str, job: Job, block: Block) -> Computed:
    """On a worker: one block, with what was compiled for the last one of the sweep of this name."""
    if getattr(_here, "name", None) != name:
        _here.runner, _here.name = Runner(job), name
    return _timed(_here.runner, block)


def _timed(runner: Runner, block: Block) -> Computed:
    fresh = runner.structure != block.structure
    started = time.perf_counter()
    found = runner.run(block.structure, block.items)
    return Computed(block, found, time.perf_counter() - started, fresh)


def sizes(done: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Structures with the numbers of their items that are not done, ``done`` being ``[structures, points, chips]``."""
    for structure in range(len(done)):
        left = np.flatnonzero(~done[structure].reshape(-1))
        if left.size:
            yield structure, left


class BlockScheduler:
    """Cuts what is left into blocks that last about as long as asked for, once it is known how long an item takes.

    Args:
      done: ``[structures, points, chips]``.
      unit: items that are computed side by side; a block is a multiple of it, but for the last.
      in_flight: blocks that are under way at a time.
    """

    def __init__(self, done: np.ndarray, unit: int, in_flight: int):
        self._left = list(sizes(done))
        self._unit, self._in_flight = unit, in_flight
        self._item_s: float | None = None

    def learn(self, computed: Computed) -> None:
        """Take note of how long a block took; one that was compiled says nothing."""
        if not computed.fresh:
            self._item_s = computed.seconds / len(computed.block.items)

    def next(self, seconds: float) -> Block | None:
        """A block that lasts about ``seconds``; None where nothing is left."""
        if not self._left:
            return None
        structure, items = self._left.pop(0)
        size = self._unit if self._item_s is None else int(seconds / max(self._item_s, 1e-9))
        size = min(size, -(-len(items) // self._in_flight)) if self._in_flight > 1 else size
        size = max(self._unit, size // self._unit * self._unit)
        if size < len(items):
            self._left.insert(0, (structure, items[size:]))
        return Block(structure, items[:size])
