"""Print one line instead of a traceback on Ctrl-C while the command line loads, which takes seconds.

This applies only if the process is the command ``analogsim``. Once loaded, ``cli.interrupts`` handles Ctrl-C.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def is_command() -> bool:
    """Return whether this process, or its parent, is ``analogsim`` or ``python -m analogsim``."""
    program = sys.argv[0] if sys.argv else ""
    # Python sets argv[0] to "-m" while it searches for the module, and to the path of its file when it runs.
    if program == "-m":
        return sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] == ["analogsim"]
    return Path(program).stem == "analogsim" or program == str(Path(__file__).parents[1] / "__main__.py")


def _stopped(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        # Modules may be half loaded, so neither buffered streams nor exit handlers are used; 130 is 128 + SIGINT.
        os.write(2, b"analogsim: stopped before it began\n")
        os._exit(130)
    sys.__excepthook__(kind, error, trace)


if is_command():
    if multiprocessing.parent_process() is None:
        sys.excepthook = _stopped
    elif threading.current_thread() is threading.main_thread():  # a worker: the parent process prints the message
        signal.signal(signal.SIGINT, signal.SIG_IGN)
