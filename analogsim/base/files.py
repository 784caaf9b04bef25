"""Atomic file writes: write to a temporary sibling, flush to disk, then rename (``os.replace``).

A file always has either its old or its new content, even if the process is killed or the disk is full. Links are
followed, and the permissions of a replaced file are kept. All files of this library are written by this module.
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

#: Temporary files that are being written; a forced exit removes them (``cli.interrupts``).
_unfinished: set[Path] = set()
#: Held while files are being moved into place; even a forced exit waits for it.
placing = threading.RLock()
#: Files that this process has written, in order; a dictionary used as an ordered set.
_finished: dict[Path, None] = {}


def replace(path: str | os.PathLike, content: bytes | str) -> Path:
    """Write a file atomically.

    Args:
      path: path of the file. A pipe or another special file (``/dev/stdout``) is not replaced, but written to.
      content: content of the file; a string is encoded in UTF-8.

    Returns:
      the path.

    Raises:
      OSError: from the operating system. The file is then unchanged, and no temporary file is left.
    """
    # os.replace would replace a link itself, so write to what it points to.
    path, target = Path(path), Path(path).resolve()
    raw = content.encode("utf-8") if isinstance(content, str) else content
    if target.exists():
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
        if not os.access(target, os.W_OK):  # os.replace ignores this permission
            raise PermissionError(13, "Permission denied", str(path))
        if not stat.S_ISREG(target.stat().st_mode):
            target.write_bytes(raw)
            return path
    # In the same folder, because os.replace is atomic only within one file system.
    with temporary_sibling(target) as neighbour:
        with neighbour.open("xb") as file:
            file.write(raw)
            file.flush()
            # Before the rename: after a crash, the name could otherwise belong to data that never reached the disk.
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, neighbour)
        os.replace(neighbour, target)
    noted(path)
    return path


def write(path: str | os.PathLike, content: bytes | str, what: str = "") -> Path:
    """Write a file atomically, with an ``InputError`` if that fails.

    Args:
      path, content: see ``replace``.
      what: prefix of the path in the message, for example ``"--out "``.

    Raises:
      InputError: if the file cannot be written.

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
        unchanged = "; the existing file is unchanged" if Path(path).is_file() else ""
        raise InputError(f"{what}{path}: cannot write there ({error.strerror or error}){unchanged}") from error


@contextlib.contextmanager
def temporary_sibling(target: Path, ending: str = "tmp") -> Iterator[Path]:
    """Yield an unused path in the folder of ``target``; a file left there is removed on exit."""
    with temporary(_sibling(target, ending)) as neighbour:
        yield neighbour


def _sibling(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.{ending}")


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Yield ``path``; the file or folder there is removed on exit, also after an exception or a forced exit."""
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder ``new`` to ``path`` and remove the folder that was there; if that fails, put it back.

    Raises:
      InputError: if the old folder can be neither replaced nor put back; it then stays, under the name in the message.
      OSError: for every other error of the file system; the old folder is unchanged.
    """
    if not path.is_dir():
        new.rename(path)
        return
    shutil.copymode(path, new)
    old = _sibling(path, "old")
    # No file system renames over a folder that is not empty, so that there are two renames; ``placing`` delays a
    # forced exit between them.
    with placing:
        path.rename(old)
        try:
            new.rename(path)
        finally:
            if not path.exists():
                try:
                    old.rename(path)
                except OSError as error:
                    raise InputError(
                        f"folder {path}: can be neither replaced nor put back ({error.strerror or error}); what it "
                        f"held is in {old}"
                    ) from None
            _remove(old)  # nothing is left there if it was put back


def noted(path: Path) -> None:
    """Record that a file or folder is complete, for the message of an interrupted command."""
    _finished[path] = None


def finished() -> list[Path]:
    """Return the files and folders that this process has completed, in order."""
    return list(_finished)


def forget() -> None:
    """Clear the list of completed files."""
    _finished.clear()


def remove_unfinished() -> None:
    """Remove the temporary files of all threads, before a process exits without unwinding."""
    # A copy, because other threads still add to the set and discard from it.
    for neighbour in list(_unfinished):
        _remove(neighbour)


def _remove(neighbour: Path) -> None:
    # unlink raises for a folder and for a missing path; rmtree removes the first and ignores the second.
    with contextlib.suppress(OSError):
        neighbour.unlink()
        return
    shutil.rmtree(neighbour, ignore_errors=True)


def output_folder(path: str | Path) -> Path:
    """Create the output folder of a command.

    Raises:
      InputError: if it cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_sibling(folder / "write-test") as probe:
            probe.touch()
    except OSError as error:
        raise InputError(f"--out {folder}: cannot write there ({error.strerror or error})") from None
    return folder
