"""Ctrl-C in a command: it ends within two seconds, whatever runs, and says in one line what is kept.

Python hears a signal only between two of its own steps, and none is taken while XLA compiles or computes. A thread
therefore listens beside the command, by the descriptor that the signal itself writes to (``signal.set_wakeup_fd``):

    at once      the command is interrupted as usual (``KeyboardInterrupt``) where it can be: it writes what it has
    after 1 s    what still runs is left: unfinished files and processes of this one are removed, and the process ends
    again        a second Ctrl-C does that at once

Either way the process ends by ``os._exit``: the interpreter is not taken apart while threads of XLA still use it.
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
_SHOW_CURSOR = b"\x1b[?25h"  # which a progress bar hides

_said = threading.Event()
_advice = ""


def advise(text: str) -> None:
    """What a user can do with what is kept, for the line that an interrupt prints."""
    global _advice
    _advice = text


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """While this lasts, Ctrl-C ends the process; see the module. In another thread than the main one: nothing."""
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
    """Wait for Ctrl-C, then for a second one or the end of the command's grace."""
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
    """Say what is kept, remove what is unfinished, and end the process.

    Args:
      stopped: the interrupt, if the command was reached; its words are said where it has some.
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
    """Spawned processes that leave Ctrl-C, which a terminal sends to all, to the one that the user called."""
    # What keeps track of semaphores removes those of a process that ended at once, and need not warn of them.
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), quiet)))
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_leave_interrupts_alone)


def _leave_interrupts_alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def what_is_kept() -> str:
    """The line of a command that has no words of its own."""
    kept = [str(path) for path in files.finished()]
    if not kept:
        return "stopped; nothing was written, and files that were there are as they were"
    return f"stopped; kept: {', '.join(kept)}{f'; {_advice}' if _advice else ''}"


_exit = os._exit
