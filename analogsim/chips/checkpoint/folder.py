"""The folder of a checkpoint: ``analogsim.json``, the readable manifest, and ``arrays/``, written by Orbax.

A folder is written atomically: everything is first written to a sibling, ``.<name>.<random>.partial``, which is then
renamed. Checksums cover every byte that is restored:

    files       length and CRC-32 of every file below ``arrays/``; other files there are refused
    checksum    SHA-256 of the rest of ``analogsim.json``, as JSON with sorted keys and without spaces, so that the
                file's layout may change but not its content

Format 1, of version 0.1, has no ``checksum``: its arrays are checked, its manifest only for valid values, with a
warning.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from analogsim.base import files as writing
from analogsim.base.call_inputs import sample_from_text
from analogsim.base.errors import InputError, brief, reason_of
from analogsim.chips.checkpoint.formats import up_to_date
from analogsim.chips.checkpoint.leaves import Entry, data_like
from analogsim.models.bound import front_ends

FORMAT = 4
_MANIFEST, _ARRAYS = "analogsim.json", "arrays"
_SHOWN = 3  # files named in a message


def checked_path(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Return the folder's absolute path; refuse what is not a path, or not on a local disk."""
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise InputError(f"folder = {brief(folder)}: must be the path of a folder")
    if "://" in str(folder):
        raise InputError(f"folder = {str(folder)!r}: must be on a local disk")
    return pathlib.Path(folder).expanduser().resolve()


def check_free(path: pathlib.Path, overwrite: bool) -> None:
    """Refuse a path that holds anything, except a checkpoint and nothing else if ``overwrite`` is True."""
    if jax.process_count() > 1:
        raise InputError("save: runs in a single process; gather the arrays in one process, or use Orbax directly")
    with _os_errors(path, "read"):
        if path.exists() and not path.is_dir():
            raise InputError(f"folder {path}: is a file")
        if not path.is_dir() or not any(path.iterdir()):
            return
        if not overwrite:
            raise InputError(f"folder {path}: is not empty; choose another, or pass overwrite=True")
        if not (path / _MANIFEST).is_file():
            raise InputError(f"folder {path}: is not a checkpoint and is not overwritten")
        if foreign := _foreign(path):
            more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
            raise InputError(
                f"folder {path}: holds {', '.join(foreign[:_SHOWN])}{more} in addition to the checkpoint, which "
                f"overwriting would delete; move your files, or choose another folder"
            )


def _foreign(path: pathlib.Path) -> list[str]:
    """Return the files and folders in a checkpoint's folder that do not belong to the checkpoint."""
    try:
        listed = {_MANIFEST, _ARRAYS, *json.loads((path / _MANIFEST).read_bytes())["files"]}
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"folder {path}: its {_MANIFEST} cannot be read, so the checkpoint's files cannot be told from other "
            f"files; delete the folder yourself, or choose another"
        ) from None
    present = {entry.relative_to(path).as_posix(): entry for entry in path.rglob("*")}
    orbax_folders = {name for name, entry in present.items() if name.startswith(f"{_ARRAYS}/") and entry.is_dir()}
    return sorted(present.keys() - listed - orbax_folders)


def write(path: pathlib.Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray], overwrite: bool = True) -> None:
    """Write a complete checkpoint; an existing one stays until the new one is complete, also after an error.

    Args:
      path: from ``checked_path``.
      manifest: content of ``analogsim.json`` without ``files`` and ``checksum``.
      arrays: arrays by name, none of them empty.
      overwrite: whether to replace a checkpoint.
    """
    with _os_errors(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing.temporary_sibling(path, "partial") as new:
            new.mkdir()
            if arrays:
                import orbax.checkpoint as ocp

                # The handler alone, without ocp.Checkpointer, which would write to a second temporary folder and
                # rename it: its rename cannot wait for checksums of the files, its force=True removes the old
                # checkpoint before the new one is written, and its temporary folder stays after an error (Orbax 0.12).
                (new / _ARRAYS).mkdir()
                with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
                    handler.save(new / _ARRAYS, args=ocp.args.PyTreeSave(arrays))
                    handler.finalize(new / _ARRAYS)
            # After ``finalize``, in which Orbax merges its files.
            manifest = {**manifest, "files": _sums(new, _ARRAYS)}
            content = _readable(manifest | {"checksum": _checksum(manifest)})
            (new / _MANIFEST).write_text(content, encoding="utf-8")
            for file in new.rglob("*"):
                if file.is_file():
                    _sync(file)
            check_free(path, overwrite)  # again: files may have appeared since
            writing.replace_folder(new, path)
    writing.noted(path)


def _sync(file: pathlib.Path) -> None:
    """Flush a file to disk, so that a full disk raises before anything is replaced."""
    # On Linux, fsync flushes all written data of the file, also through a descriptor that is open for reading.
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _checksum(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its field ``checksum``."""
    plain = {name: value for name, value in manifest.items() if name != "checksum"}
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _readable(manifest: dict[str, Any]) -> str:
    """Format JSON with one field per line, and lists of plain values on one line."""
    indented = json.dumps(manifest, indent=1, allow_nan=False)
    # JSON escapes line breaks inside strings, so that every line break here is layout.
    return (
        re.sub(r"\[\n[^\[\]{}]*\n *\]", lambda m: re.sub(r"\n *", " ", m[0]).replace("[ ", "[")[:-2] + "]", indented)
        + "\n"
    )


@contextlib.contextmanager
def _os_errors(path: pathlib.Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be {verb} ({error.strerror or error})") from error


def _sums(folder: pathlib.Path, name: str) -> dict[str, list[int]]:
    """Return length and CRC-32 of every file below ``folder/name``."""
    files = sorted(file for file in (folder / name).rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _sum(file) for file in files}


def _sum(file: pathlib.Path) -> list[int]:
    length = total = 0
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            length, total = length + len(chunk), zlib.crc32(chunk, total)
    return [length, total]


def check_files(path: pathlib.Path, files: dict[str, list[int]]) -> None:
    """Refuse files below ``arrays/`` that are missing, changed or not in the manifest's ``files``."""
    with _os_errors(path, "read"):
        present = {f.relative_to(path).as_posix() for f in (path / _ARRAYS).rglob("*") if not f.is_dir()}
    for name in sorted(present - files.keys()):
        raise _damaged(path, f"{name} is not listed in 'files' of {_MANIFEST}")
    for name, expected in files.items():
        if not (path / name).is_file():
            raise _damaged(path, f"{name} is missing")
        with _os_errors(path / name, "read"):
            actual = _sum(path / name)
        if actual != expected:
            what = "length" if actual[0] != expected[0] else "CRC"
            raise _damaged(path, f"the {what} of {name} differs from the one in {_MANIFEST}")


def read_arrays(path: pathlib.Path, entries: dict[str, Entry]) -> dict[str, np.ndarray]:
    """Read the stored arrays of leaves by name; leaves without an array, and empty arrays, are left out.

    Raises:
      InputError: if Orbax cannot read an array, or it differs in shape or dtype from its entry.
    """
    likes = {name: data_like(entry) for name, entry in entries.items()}
    stored = {name: like for name, like in likes.items() if like is not None and 0 not in like[0]}
    if not stored:
        return {}
    import orbax.checkpoint as ocp

    in_file = {name: entries[name].get("in_file", name) for name in stored}
    restore_args = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in in_file.values()}
    try:
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
            args = ocp.args.PyTreeRestore(item=dict.fromkeys(in_file.values(), 0), restore_args=restore_args)
            by_file_name = handler.restore(path / _ARRAYS, args=args)
    except Exception as error:  # Orbax and TensorStore raise many types
        raise _damaged(path, f"its arrays cannot be read ({reason_of(error)})") from error
    arrays = {name: by_file_name[file_name] for name, file_name in in_file.items()}
    for name, (shape, dtype) in stored.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise _damaged(path, f"{name} has another shape or dtype than in {_MANIFEST}")
    return arrays


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """Read and check ``analogsim.json``, and convert it to the current format.

    Raises:
      InputError: if there is none, or it is damaged or of a newer format.

    Warns:
      UserWarning: for format 1, which has no checksum.
    """
    if not path.is_dir():
        raise InputError(f"folder {path}: does not exist" if not path.exists() else f"folder {path}: is a file")
    if not (path / _MANIFEST).is_file():
        raise InputError(f"folder {path}: is not a checkpoint of analogsim.save: it has no {_MANIFEST}")
    with _os_errors(path, "read"):
        raw = (path / _MANIFEST).read_bytes()
    try:
        manifest = json.loads(raw, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{_MANIFEST} cannot be read ({error})") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise _damaged(path, f"{_MANIFEST} has no format number")
    if version > FORMAT:
        raise InputError(
            f"checkpoint {path}: has format {version}, written by analogsim {manifest.get('analogsim')}; this version "
            f"reads formats up to {FORMAT}; update analogsim"
        )
    _check_sum(path, manifest, version)
    for name, check in _CHECKS.items():
        try:
            valid = check(manifest[name])
        except (KeyError, TypeError, ValueError, AttributeError, NotImplementedError):
            valid = False
        if not valid:
            raise _damaged(path, f"'{name}' in {_MANIFEST} is missing or invalid")
    _check_leaf_names(path, manifest)
    return up_to_date(manifest)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Convert a JSON object to a dictionary; ``json`` alone would keep the last of two equal names."""
    content = dict(pairs)
    for name in content if len(content) < len(pairs) else ():
        if sum(other == name for other, _ in pairs) > 1:
            raise ValueError(f"{name!r} occurs twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_sum(path: pathlib.Path, manifest: dict[str, Any], version: int) -> None:
    """Refuse a manifest that differs from its checksum; warn if it has none."""
    unknown = sorted(manifest.keys() - _CHECKS.keys() - {"format", *(["checksum"] if version > 1 else [])})
    if unknown:
        raise _damaged(path, f"{_MANIFEST} has {unknown[0]!r}, which no checkpoint of format {version} has")
    if version == 1:
        warnings.warn(
            f"checkpoint {path}: has format 1, written by analogsim {manifest.get('analogsim')}, without a checksum of "
            f"{_MANIFEST}: the arrays are checked, but changes of {_MANIFEST} may go unnoticed; save it again to add "
            f"a checksum",
            UserWarning,
            stacklevel=4,
        )
    elif "checksum" not in manifest:
        raise _damaged(path, f"'checksum' in {_MANIFEST} is missing")
    elif manifest["checksum"] != _checksum(manifest):
        raise _damaged(path, f"{_MANIFEST} does not match its checksum")


def _damaged(path: pathlib.Path, what: str) -> InputError:
    return InputError(f"checkpoint {path}: {what}; it is damaged")


def _is_layer(layer: Any) -> bool:
    sizes = [*layer["matrix"], layer["matrices"]]
    return isinstance(layer["hardware"], dict) and [type(n) for n in sizes] == [int, int, int]


def _is_entry(entry: Any) -> bool:
    if "same_as" in entry:
        return list(entry) == ["same_as"]
    data_like(entry)  # raises if it is not one
    return True


def _check_leaf_names(path: pathlib.Path, manifest: dict[str, Any]) -> None:
    """Refuse a reference to a missing leaf, and a leaf that belongs neither to the model nor to the chip."""
    leaves = manifest["leaves"]
    shared = [entry["same_as"] for entry in leaves.values() if "same_as" in entry]
    for name in [*shared, *([] if manifest["chip"] is None else ["chip/time_s"])]:
        if "kind" not in leaves.get(name, {}):
            raise _damaged(path, f"'leaves' in {_MANIFEST} has no {name}")
    roots = next(known.roots for known in front_ends() if known.name == manifest["front_end"])
    prefixes = tuple(f"{root}/" for root in (*roots, *([] if manifest["chip"] is None else ["chip"])))
    for name, entry in leaves.items():
        if not name.startswith(prefixes):
            raise _damaged(path, f"'leaves' in {_MANIFEST} has {name}, which is not part of the saved model or chip")
        like = data_like(entry) if "kind" in entry else None
        if like is not None and 0 not in like[0] and not manifest["files"]:
            raise _damaged(path, f"'files' in {_MANIFEST} is empty, but {name} is an array")


#: For every field of the manifest, a function that returns False or raises if the value is invalid.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "analogsim": lambda version: isinstance(version, str),
    "front_end": lambda name: name in [known.name for known in front_ends()],
    "inputs": lambda inputs: inputs is None or sample_from_text(inputs) is not None,
    "chip": lambda chip: chip is None or all(type(n) is int and n > 0 for n in chip["stack"]),
    "layers": lambda layers: all(map(_is_layer, layers.values())),
    "leaves": lambda leaves: all(map(_is_entry, leaves.values())),
    "files": lambda files: all(
        name.startswith(f"{_ARRAYS}/") and ".." not in name and [type(n) for n in numbers] == [int, int]
        for name, numbers in files.items()
    ),
    "built_with": lambda dtypes: isinstance(dtypes, dict),
}
