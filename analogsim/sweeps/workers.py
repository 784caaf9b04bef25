"""Workers that compute blocks: this process, an executor of ``concurrent.futures``, or Dask's workers.

An executor receives blocks as tasks: the job and the items. A worker compiles a structure once and keeps the program.
Scheduling is left to the executor; Dask also repeats the tasks of a worker that died.
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

#: How often Dask repeats a task whose worker died.
_RETRIES = 5


class Computed(NamedTuple):
    """The metrics of a block.

    Attributes:
      block: the block.
      scores: ``{metric: [items(, times)]}``.
      seconds: duration, s.
      fresh: whether the duration includes compilation.
    """

    block: Block
    scores: dict[str, np.ndarray]
    seconds: float
    fresh: bool


class Workers(Protocol):
    """Computes blocks, several at a time."""

    #: Number of blocks to keep submitted.
    in_flight: int

    def submit(self, block: Block) -> None:
        """Start a block."""
        ...

    def next(self) -> Computed:
        """Wait for the next block that is done, in whatever order."""
        ...

    def close(self) -> None:
        """Drop submitted blocks."""
        ...


class ThisProcess:
    """Computes one block at a time in this process."""

    in_flight = 1

    def __init__(self, job: Job, devices: Sequence[Any] | None):
        self._runner, self._waiting = Runner(job, devices), queue.SimpleQueue[Block]()

    def submit(self, block: Block) -> None:
        """Queue the block until ``next``."""
        self._waiting.put(block)

    def next(self) -> Computed:
        """Compute the queued block."""
        return _timed(self._runner, self._waiting.get())

    def close(self) -> None:
        """Do nothing: no block runs in the background."""


class OnExecutor:
    """Computes blocks as tasks of an executor, or of a ``distributed.Client``."""

    def __init__(self, job: Job, executor: Any):
        self._finished: queue.SimpleQueue[tuple[Block, Any]] = queue.SimpleQueue()
        self._under_way: dict[int, Any] = {}
        self._options: dict[str, Any] = {}
        self._name, self._job = uuid.uuid4().hex, job
        self._executor = executor
        if _is_dask(executor):
            with _clear_sending_errors():
                # Sent to each worker once: the job holds the model and the data.
                self._job = executor.scatter(job, broadcast=True)
            self._options = {"retries": _RETRIES, "pure": False}
            workers = sum(executor.nthreads().values())
        else:
            # Private, but the thread and process pools of concurrent.futures both have it.
            workers = getattr(executor, "_max_workers", None) or 4
        self.in_flight = 2 * max(1, workers)  # per worker, one running and one waiting

    def submit(self, block: Block) -> None:
        """Submit the block to the executor."""
        future = self._executor.submit(_compute, self._name, self._job, block, **self._options)
        # Held until `next`: an id may be reused once its object is gone.
        self._under_way[id(future)] = future
        # The callback runs in a thread of the executor, or at once in this one if the task is done: it only queues.
        future.add_done_callback(lambda done, block=block: self._finished.put((block, done)))

    def next(self) -> Computed:
        """Wait for the next finished block, in any order.

        Raises:
          InputError: if a worker died and the executor does not replace it.
        """
        while True:
            try:
                _, future = self._finished.get(timeout=0.2)  # a wait without timeout would block Ctrl-C
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
            # By name, because KilledWorker is a class of distributed, which may not be installed.
            if type(error).__name__ in ("BrokenProcessPool", "KilledWorker", "BrokenThreadPool", "CancelledError"):
                raise InputError(
                    f"executor: a worker died ({type(error).__name__}), possibly out of memory. Finished points are "
                    f"saved; rerun the same sweep with a new executor to resume"
                ) from error
            raise

    def close(self) -> None:
        """Cancel the tasks that have not started."""
        # A task that runs cannot be cancelled; its result stays in the queue, unread.
        for future in list(self._under_way.values()):
            future.cancel()


def _is_dask(executor: Any) -> bool:
    return type(executor).__module__.partition(".")[0] == "distributed" and hasattr(executor, "scatter")


def workers_for(job: Job, executor: Any, devices: Sequence[Any] | None) -> Workers:
    """Return the workers for the user's executor or devices."""
    return ThisProcess(job, devices) if executor is None else OnExecutor(job, executor)


def check_workers(executor: Any, devices: Sequence[Any] | None) -> None:
    """Refuse an unusable executor before anything is computed.

    Raises:
      InputError: for an executor without ``submit``, or one together with ``devices``.
    """
    if executor is None:
        return
    if devices is not None:
        raise InputError("devices: belong to this process; omit them with an executor")
    if not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"executor = {brief(executor)}: must have submit(function, *arguments), as those of concurrent.futures and "
            f"distributed.Client have"
        )


@contextlib.contextmanager
def _clear_sending_errors() -> Iterator[None]:
    """Turn an executor's serialisation errors into one sentence."""
    try:
        yield
    except Exception as error:  # PicklingError, TypeError or AttributeError, depending on executor and object
        if isinstance(error, InputError) or not any(word in str(error).lower() for word in ("pickle", "serializ")):
            raise
        raise InputError(
            f"executor: the sweep cannot be sent to another process ({str(error).splitlines()[0]}); define "
            f"evaluate, the model's class and the metric in a module that can be imported"
        ) from error


# A runner holds one structure, so each thread of a pool or of a Dask worker has a runner.
_here = threading.local()


def _compute(name: str, job: Job, block: Block) -> Computed:
    """Compute one block on a worker, reusing the program compiled for the same sweep (by name)."""
    if getattr(_here, "name", None) != name:
        _here.runner, _here.name = Runner(job), name
    return _timed(_here.runner, block)


def _timed(runner: Runner, block: Block) -> Computed:
    fresh = runner.structure != block.structure
    started = time.perf_counter()
    found = runner.run(block.structure, block.items)
    return Computed(block, found, time.perf_counter() - started, fresh)


def sizes(done: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each structure with its unfinished items; ``done`` is ``[structures, points, chips]``."""
    for structure in range(len(done)):
        left = np.flatnonzero(~done[structure].reshape(-1))
        if left.size:
            yield structure, left


class BlockScheduler:
    """Splits the remaining items into blocks of a given duration, once the duration of an item is known.

    Args:
      done: ``[structures, points, chips]``.
      unit: items computed in parallel; blocks are multiples of it, except for the last.
      in_flight: number of blocks submitted at a time.
    """

    def __init__(self, done: np.ndarray, unit: int, in_flight: int):
        self._left = list(sizes(done))
        self._unit, self._in_flight = unit, in_flight
        self._item_s: float | None = None

    def learn(self, computed: Computed) -> None:
        """Record the duration of a block, unless it includes compilation."""
        if not computed.fresh:
            self._item_s = computed.seconds / len(computed.block.items)

    def next(self, seconds: float) -> Block | None:
        """Return a block that lasts about ``seconds``; None if nothing is left."""
        if not self._left:
            return None
        structure, items = self._left.pop(0)
        size = self._unit if self._item_s is None else int(seconds / max(self._item_s, 1e-9))
        size = min(size, -(-len(items) // self._in_flight)) if self._in_flight > 1 else size
        size = max(self._unit, size // self._unit * self._unit)
        if size < len(items):
            self._left.insert(0, (structure, items[size:]))
        return Block(structure, items[:size])
