"""The folder of a checkpoint: ``analogsim.json``, for people and for comparison, and ``arrays/``, written by Orbax.

A folder appears whole or not at all: everything is written into a sibling, ``.<name>.<random>.partial``, which then is
renamed. Every byte that is restored is covered by a checksum:

    files       length and CRC-32 of every file below ``arrays/``, which holds these and no others
    checksum    SHA-256 of all else that ``analogsim.json`` says, as JSON with sorted keys and without spaces, so that
                the file may be laid out anew but not changed

Format 1, of version 0.1, has no ``checksum``: its arrays are checked, its text as far as values can be, with a warning.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from analogsim.base import files as writing
from analogsim.base.errors import InputError, brief, reason_of
from analogsim.chips.checkpoint.formats import up_to_date
from analogsim.chips.checkpoint.leaves import data_like, sample_of
from analogsim.models.bound import front_ends

FORMAT = 4
_TEXT, _ARRAYS = "analogsim.json", "arrays"
_SHOWN = 3  # files named in a message


def checked_path(folder: Any) -> pathlib.Path:
    """The folder's absolute path."""
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise InputError(f"folder = {brief(folder)}: must be the path of a folder")
    if "://" in str(folder):
        raise InputError(f"folder = {str(folder)!r}: must be on a local disk")
    return pathlib.Path(folder).expanduser().resolve()


def check_free(path: pathlib.Path, overwrite: bool) -> None:
    """Refuse a place that holds something else than nothing, or than a checkpoint that may be overwritten."""
    if jax.process_count() > 1:
        raise InputError("save: works in one process; gather the arrays in one, or use Orbax itself")
    with _spoken(path, "looked into"):
        if path.exists() and not path.is_dir():
            raise InputError(f"folder {path}: is a file")
        if not path.is_dir() or not any(path.iterdir()):
            return
        if not overwrite:
            raise InputError(f"folder {path}: is not empty; choose another, or pass overwrite=True")
        if not (path / _TEXT).is_file():
            raise InputError(f"folder {path}: holds something else than a checkpoint and is not overwritten")
        if foreign := _foreign(path):
            more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
            raise InputError(
                f"folder {path}: holds {', '.join(foreign[:_SHOWN])}{more} beside the checkpoint, which overwriting "
                f"would delete; move what is yours, or choose another folder"
            )


def _foreign(path: pathlib.Path) -> list[str]:
    """What stands in a checkpoint's folder and is not of the checkpoint."""
    try:
        own = {_TEXT, _ARRAYS, *json.loads((path / _TEXT).read_bytes())["files"]}
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"folder {path}: its {_TEXT} cannot be read, so that the checkpoint's files cannot be told from others; "
            f"delete the folder yourself, or choose another"
        ) from None
    found = {entry.relative_to(path).as_posix(): entry for entry in path.rglob("*")}
    empty_of_orbax = {name for name, entry in found.items() if name.startswith(f"{_ARRAYS}/") and entry.is_dir()}
    return sorted(found.keys() - own - empty_of_orbax)


def write(path: pathlib.Path, text: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a whole checkpoint; what was there before stays until the new one is complete."""
    with _spoken(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing.temporary_sibling(path, "partial") as new:
            new.mkdir()
            if arrays:
                import orbax.checkpoint as ocp

                # The handler alone, without ocp.Checkpointer, which would write into a second temporary folder and
                # rename it: its rename cannot wait for checksums of what it wrote, its force=True removes the old
                # checkpoint before the new one is written, and what it leaves after an error stays (Orbax 0.12).
                (new / _ARRAYS).mkdir()
                with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
                    handler.save(new / _ARRAYS, args=ocp.args.PyTreeSave(arrays))
                    handler.finalize(new / _ARRAYS)
            text = {**text, "files": _sums(new, _ARRAYS)}
            (new / _TEXT).write_text(_for_people(text | {"checksum": _checksum(text)}), encoding="utf-8")
            for file in new.rglob("*"):
                if file.is_file():
                    _sync(file)
            check_free(path, overwrite=True)  # what was put there meanwhile
            _exchange(new, path)
    writing.noted(path)


def _sync(file: pathlib.Path) -> None:
    """Onto the disk, so that a full one is noticed before anything is replaced."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _exchange(new: pathlib.Path, path: pathlib.Path) -> None:
    """Put a folder in the place of another, which is removed; a failure leaves the other where it was."""
    if not path.is_dir():
        new.rename(path)
        return
    shutil.copymode(path, new)
    with writing.placing, writing.temporary_sibling(path, "old") as old, writing.protected(old):
        path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            old.rename(path)
            raise


def _checksum(text: dict[str, Any]) -> str:
    """Of all that the text says but this."""
    plain = {name: value for name, value in text.items() if name != "checksum"}
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _for_people(text: dict[str, Any]) -> str:
    """JSON with a field a line, and a list of plain values on one line. A line break is never inside of a text."""
    indented = json.dumps(text, indent=1, allow_nan=False)
    return (
        re.sub(r"\[\n[^\[\]{}]*\n *\]", lambda m: re.sub(r"\n *", " ", m[0]).replace("[ ", "[")[:-2] + "]", indented)
        + "\n"
    )


@contextlib.contextmanager
def _spoken(path: pathlib.Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be {what} ({error.strerror or error})") from error


def _sums(folder: pathlib.Path, name: str) -> dict[str, list[int]]:
    """Length and CRC-32 of every file below ``folder/name``."""
    files = sorted(file for file in (folder / name).rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _sum(file) for file in files}


def _sum(file: pathlib.Path) -> list[int]:
    length = total = 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            length, total = length + len(chunk), zlib.crc32(chunk, total)
    return [length, total]


def check_files(path: pathlib.Path, files: dict[str, list[int]]) -> None:
    """Refuse files that are gone, have changed or are not the checkpoint's, before anything is made of them."""
    with _spoken(path, "looked into"):
        there = {f.relative_to(path).as_posix() for f in (path / _ARRAYS).rglob("*") if not f.is_dir()}
    for name in sorted(there - files.keys()):
        raise _damaged(path, f"{name} is not in the list 'files' of {_TEXT}")
    for name, expected in files.items():
        if not (path / name).is_file():
            raise _damaged(path, f"{name} is missing")
        with _spoken(path / name, "read"):
            found = _sum(path / name)
        if found != expected:
            raise _damaged(
                path, f"{name} is not what was written, by its {'length' if found[0] != expected[0] else 'CRC'}"
            )


def read_arrays(path: pathlib.Path, entries: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of these leaves, as they were saved."""
    likes = {name: data_like(entry) for name, entry in entries.items()}
    non_empty = {name: expected for name, expected in likes.items() if expected is not None and 0 not in expected[0]}
    if not non_empty:
        return {}
    import orbax.checkpoint as ocp

    in_file = {name: entries[name].get("in_file", name) for name in non_empty}
    restore_args = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in in_file.values()}
    try:
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
            args = ocp.args.PyTreeRestore(item=dict.fromkeys(in_file.values(), 0), restore_args=restore_args)
            by_file_name = handler.restore(path / _ARRAYS, args=args)
    except Exception as error:  # of many kinds, by what is missing or damaged
        raise _damaged(path, f"its arrays cannot be read ({reason_of(error)})") from error
    restored = {name: by_file_name[stored] for name, stored in in_file.items()}
    for name, (shape, dtype) in non_empty.items():
        if restored[name].shape != shape or restored[name].dtype != dtype:
            raise _damaged(path, f"{name} is not the array that {_TEXT} speaks of")
    return restored


def read_text(path: pathlib.Path) -> dict[str, Any]:
    """What ``analogsim.json`` says, checked."""
    if not path.is_dir():
        raise InputError(f"folder {path}: does not exist" if not path.exists() else f"folder {path}: is a file")
    if not (path / _TEXT).is_file():
        raise InputError(f"folder {path}: is no checkpoint of analogsim.save: it has no {_TEXT}")
    with _spoken(path, "read"):
        raw = (path / _TEXT).read_bytes()
    try:
        text = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{_TEXT} cannot be read ({error})") from None
    version = text.get("format") if isinstance(text, dict) else None
    if type(version) is not int or version < 1:
        raise _damaged(path, f"{_TEXT} has no format number")
    if version > FORMAT:
        raise InputError(
            f"checkpoint {path}: has format {version}, of analogsim {text.get('analogsim')}; this version reads up to "
            f"format {FORMAT}: update it"
        )
    _check_sum(path, text, version)
    for name, check in _CHECKS.items():
        try:
            check(text[name])
        except (KeyError, TypeError, ValueError, AttributeError, NotImplementedError):
            raise _damaged(path, f"'{name}' in {_TEXT} is missing or not what it should be") from None
    _check_leaf_names(path, text)
    return up_to_date(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no name stands twice."""
    found = dict(pairs)
    for name in found if len(found) < len(pairs) else ():
        if sum(other == name for other, _ in pairs) > 1:
            raise ValueError(f"{name!r} stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_sum(path: pathlib.Path, text: dict[str, Any], version: int) -> None:
    """Refuse a text that is not as it was written; warn where that cannot be known."""
    odd = sorted(text.keys() - _CHECKS.keys() - {"format", *(["checksum"] if version > 1 else [])})
    if odd:
        raise _damaged(path, f"{_TEXT} has {odd[0]!r}, which no checkpoint of format {version} has")
    if version == 1:
        warnings.warn(
            f"checkpoint {path}: is of format 1, of analogsim {text.get('analogsim')}, whose description has no "
            f"checksum: the arrays are checked, changes of {_TEXT} might not be noticed; save it again for one",
            UserWarning,
            stacklevel=4,
        )
    elif "checksum" not in text:
        raise _damaged(path, f"'checksum' in {_TEXT} is missing")
    elif text["checksum"] != _checksum(text):
        raise _damaged(path, f"{_TEXT} is not what was written, by its checksum")


def _damaged(path: pathlib.Path, what: str) -> InputError:
    return InputError(f"checkpoint {path}: {what}; it is damaged")


def _is(kinds: Any) -> Any:
    def check(value: Any) -> None:
        if not isinstance(value, kinds):
            raise TypeError

    return check


def _check_inputs(inputs: Any) -> None:
    if inputs is not None:
        sample_of(inputs)


def _check_chip(chip: Any) -> None:
    if chip is not None and not all(type(n) is int and n > 0 for n in chip["stack"]):
        raise ValueError


def _check_layers(layers: Any) -> None:
    for layer in layers.values():
        _is(dict)(layer["hardware"])
        if [type(n) for n in layer["matrix"]] != [int, int] or type(layer["matrices"]) is not int:
            raise TypeError


def _check_leaves(leaves: Any) -> None:
    for entry in leaves.values():
        if "same_as" not in entry:
            data_like(entry)
        elif list(entry) != ["same_as"]:
            raise ValueError


def _check_sums(files: Any) -> None:
    for name, numbers in files.items():
        if not name.startswith(f"{_ARRAYS}/") or ".." in name or [type(n) for n in numbers] != [int, int]:
            raise ValueError


def _check_front_end(front_end: Any) -> None:
    if front_end not in {known.name for known in front_ends()}:
        raise ValueError


def _check_leaf_names(path: pathlib.Path, text: dict[str, Any]) -> None:
    leaves = text["leaves"]
    shared = [entry["same_as"] for entry in leaves.values() if "same_as" in entry]
    needed = [*shared, *([] if text["chip"] is None else ["chip/time_s"])]
    for name in needed:
        if "kind" not in leaves.get(name, {}):
            raise _damaged(path, f"'leaves' in {_TEXT} has no {name}")
    roots = next(known.roots for known in front_ends() if known.name == text["front_end"])
    parts = {f"{part}/" for part in (*roots, *([] if text["chip"] is None else ["chip"]))}
    for name, entry in leaves.items():
        if not name.startswith(tuple(parts)):
            raise _damaged(path, f"'leaves' in {_TEXT} has {name}, which belongs to nothing that was saved")
        like = data_like(entry) if "kind" in entry else None
        if like is not None and 0 not in like[0] and not text["files"]:
            raise _damaged(path, f"'files' in {_TEXT} is empty, but {name} is an array")


_CHECKS = {
    "analogsim": _is(str),
    "front_end": _check_front_end,
    "inputs": _check_inputs,
    "chip": _check_chip,
    "layers": _check_layers,
    "leaves": _check_leaves,
    "files": _check_sums,
    "built_with": _is(dict),
}
