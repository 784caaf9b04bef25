"""Handle Ctrl-C: a command ends within two seconds, whatever it runs, and prints in one line what was saved.

Python runs a signal handler only between two bytecode instructions, and runs none while XLA compiles or computes. A
thread therefore waits on the descriptor that the C-level signal handler writes to (``signal.set_wakeup_fd``):

    at once      ``KeyboardInterrupt`` as usual, if Python can take it: the command writes its results so far
    after 1 s    running work is abandoned: unfinished files are removed, child processes killed, the process ends
    again        a second Ctrl-C does that at once

Either way the process ends with ``os._exit``: shutting the interpreter down while XLA threads run can crash.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from analogsim.base import files

STATUS = 130  # 128 + SIGINT, as shells have it
GRACE_S = 1.0
_PLACING_S = 0.3  # a rename takes less
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it

_said = threading.Event()
_advice = ""


def advise(text: str) -> None:
    """Set the advice on how to resume, for the line that an interrupt prints."""
    global _advice
    _advice = text


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Let Ctrl-C end the process as the module describes; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    files.forget()
    advise("")
    _said.clear()
    listener, signalled = socket.socketpair()
    signalled.setblocking(False)
    before = signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(listener,), daemon=True, name="interrupts").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signalled.close()


def _listen(listener: socket.socket) -> None:
    """Wait for Ctrl-C, then for a second one or the end of the grace period."""
    with listener:
        while signal.SIGINT not in (received := listener.recv(64)):
            if not received:
                return  # the command has ended
        if received.count(signal.SIGINT) < 2:
            listener.settimeout(GRACE_S)
            with contextlib.suppress(TimeoutError):
                while signal.SIGINT not in (received := listener.recv(64)):
                    if not received:
                        return
    leave()


def leave(stopped: BaseException | None = None) -> None:
    """Print what was saved, remove unfinished files, and end the process.

    Args:
      stopped: the interrupt, if the command received it; its message, if any, is printed.
    """
    if stopped is not None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
    for child in multiprocessing.active_children():
        child.kill()
    quiet = files.placing.acquire(timeout=_PLACING_S)
    files.remove_unfinished()
    if not _said.is_set():
        _said.set()
        words = str(stopped or "") or what_is_kept()
        restored = _SHOW_CURSOR + b"\n" if stopped is None and sys.stderr.isatty() else b""
        with contextlib.suppress(OSError):
            os.write(2, restored + f"analogsim: {words}\n".encode())
    if quiet:
        files.placing.release()
    _exit(STATUS)


def pool_of_processes(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes that ignore Ctrl-C: a terminal sends it to all, the parent handles it."""
    # os._exit leaves semaphores behind; the resource tracker removes them and would warn.
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), quiet)))
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_leave_interrupts_alone)


def _leave_interrupts_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def what_is_kept() -> str:
    """Return the line for a command whose interrupt has no message."""
    saved = [str(path) for path in files.finished()]
    if not saved:
        return "stopped; nothing was written and existing files are unchanged"
    return f"stopped; saved: {', '.join(saved)}{f'; {_advice}' if _advice else ''}"


_exit = os._exit
