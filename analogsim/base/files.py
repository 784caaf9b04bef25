"""Files written whole or not at all: to a neighbour, onto the disk, then put into place by one rename (``os.replace``).

At every moment, even when the process is killed or the disk is full, a file is either what it was or what it is to be.
Links are followed, and the permissions of a file that is replaced stay. Every file of this library is written here.
"""

import contextlib
import os
import shutil
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from analogsim.base.errors import InputError

#: Neighbours that are being written now; an interrupt that cannot wait removes them (``interrupts``).
_unfinished: set[Path] = set()
#: Held while something is between two places; an interrupt that cannot wait waits for this.
placing = threading.RLock()
#: What this process has put into place, in order; a dictionary for its keys.
_finished: dict[Path, None] = {}


def replace(path: str | os.PathLike, content: bytes | str) -> Path:
    """Write a whole file, or leave what is there.

    Args:
      path: of the file. What is no regular file (a pipe, ``/dev/stdout``) cannot be replaced and is written to.
      content: all of it; a text is written in UTF-8.

    Raises:
      OSError: as the system says. The file is as it was, and no neighbour is left.
    """
    path, target = Path(path), Path(path).resolve()
    raw = content.encode("utf-8") if isinstance(content, str) else content
    if target.exists():
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
        if not os.access(target, os.W_OK):  # a rename would not ask
            raise PermissionError(13, "Permission denied", str(path))
        if not stat.S_ISREG(target.stat().st_mode):
            target.write_bytes(raw)
            return path
    with temporary_sibling(target) as neighbour:
        with neighbour.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, neighbour)
        os.replace(neighbour, target)
    noted(path)
    return path


def write(path: str | os.PathLike, content: bytes | str, what: str = "") -> Path:
    """``replace`` for a command: one sentence where it fails.

    Args:
      path, content: as of ``replace``.
      what: names the path in the sentence, for example ``"--out "``.

    Raises:
      InputError: where the file cannot be written.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> write(folder / "page.html", "<p>whole</p>").read_text()
      '<p>whole</p>'
      >>> write(folder / "none" / "page.html", "")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      analogsim.base.errors.InputError: ...page.html: cannot write there (No such file or directory)
    """
    try:
        return replace(path, content)
    except OSError as error:
        kept = "; the file that was there is as it was" if Path(path).is_file() else ""
        raise InputError(f"{what}{path}: cannot write there ({error.strerror or error}){kept}") from error


@contextlib.contextmanager
def temporary_sibling(target: Path, ending: str = "tmp") -> Iterator[Path]:
    """A free name in the folder of ``target``; whatever is left under it at the end is removed."""
    with temporary(target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.{ending}")) as neighbour:
        yield neighbour


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A file or a folder that is removed at the end, however that comes."""
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    """While this lasts, ``remove_unfinished`` leaves the path alone."""
    _unfinished.discard(path)
    yield
    _unfinished.add(path)


def noted(path: Path) -> None:
    """Note that a file or a folder is in its place, for what an interrupted command says of what is kept."""
    _finished[path] = None


def finished() -> list[Path]:
    """What this process has put into place so far, in order."""
    return list(_finished)


def forget() -> None:
    """Begin a new list of what is finished."""
    _finished.clear()


def remove_unfinished() -> None:
    """Remove what is being written now, by whatever thread: before a process ends without unwinding."""
    for neighbour in list(_unfinished):
        _remove(neighbour)


def _remove(neighbour: Path) -> None:
    with contextlib.suppress(OSError):
        neighbour.unlink()
        return
    shutil.rmtree(neighbour, ignore_errors=True)


def output_folder(path: str | Path) -> Path:
    """Make the folder results go to, or say in one sentence why it cannot be written."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_sibling(folder / "write-test") as probe:
            probe.touch()
    except OSError as error:
        raise InputError(f"--out {folder}: cannot write there ({error.strerror or error})") from None
    return folder
