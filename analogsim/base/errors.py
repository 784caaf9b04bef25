"""The one exception for bad input, shared by the whole project."""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the caller gave is wrong; the message is one sentence that says what and what is allowed.

    The command line prints the message alone, without a traceback.
    """


def brief(value: Any) -> str:
    """What was given, for an error message: as written where that is short, else only its type and shape."""
    text = repr(value)
    if len(text) <= 80 and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"a {type(value).__name__} of shape {tuple(shape)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the closest known name, or all of them."""
    names = sorted(set(known))
    # As people write them: PCM for pcm, read noise for read_noise. The name as it is comes first among equals.
    plain = {_plain(known): known for known in names} | {known: known for known in names}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.8) or difflib.get_close_matches(_plain(name), plain, 1)
    return f"did you mean '{plain[close[0]]}'?" if close else f"known: {', '.join(names)}"


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def nearest_of(name: str, known: Iterable[str]) -> str:
    """The end of an error message about a short list: the closest known name and the list, or the list alone."""
    names = list(known)
    close = nearest(name, names)
    listed = f"known: {', '.join(names)}"
    return f"{close} ({listed})" if close.startswith("did") else listed
