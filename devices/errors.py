"""The one exception for bad input, shared by the whole project."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the caller gave is wrong; the message is one sentence that says what and what is allowed.

    The command line prints the message alone, without a traceback.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the closest known name, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
