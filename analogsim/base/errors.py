"""The exception for invalid input, and helpers that format its messages."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from typing import Any


class InputError(ValueError):
    """Invalid input; the message is one sentence with the field, the value and what is allowed.

    The command line prints only the message, without a traceback.

    Args:
      message: the sentence.
      field: path of the value within the outermost description, by names and indices: ``("store", "cell", "g_max")``;
        () if the message is not about a field. File readers convert it to a line number.

    Example:
      >>> from analogsim import preset
      >>> try:
      ...     preset("pcm", **{"adc.bits": 40})
      ... except InputError as error:
      ...     print(error, error.field)
      ADC.bits = 40: must be an integer between 2 and 24 ('adc', 'bits')
    """

    def __init__(self, message: str, field: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.field = field


@contextlib.contextmanager
def within(*field: str | int) -> Iterator[None]:
    """Prepend the name of the enclosing field to the field of an ``InputError`` raised inside.

    Example:
      >>> try:
      ...     with within("store", "cell"):
      ...         raise InputError("PCM.g_max = -1: must be greater than 0", ("g_max",))
      ... except InputError as error:
      ...     print(error.field)
      ('store', 'cell', 'g_max')
    """
    try:
        yield
    except InputError as error:
        error.field = (*field, *error.field)
        raise


def range_text(
    noun: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
) -> str:
    """Describe a range in words.

    Example:
      >>> range_text("an integer", ge=2, le=24), range_text("an integer", ge=1), range_text("", gt=0, le=0.5)
      ('an integer between 2 and 24', 'an integer of at least 1', 'greater than 0 and at most 0.5')
    """
    ends = (("greater than", gt), ("at least", ge), ("less than", lt), ("at most", le))
    words = " and ".join(f"{word} {_shown(end)}" for word, end in ends if end is not None)
    if noun == "an integer" and ge is not None and le is not None:
        words = f"between {_shown(ge)} and {_shown(le)}"
    return f"{noun}{' of' * words.startswith('at')} {words}".strip() if noun and words else noun or words or "finite"


def _shown(end: float) -> str:
    return str(end) if isinstance(end, int) else f"{end:g}"


def brief(value: Any) -> str:
    """Format a value for an error message: its repr if short, else only its type and shape.

    Args:
      value: any object.

    Returns:
      One line.

    Example:
      >>> import numpy as np
      >>> brief("PMC"), brief(np.zeros((100, 3)))
      ("'PMC'", 'a ndarray of shape (100, 3)')
    """
    text = repr(value)
    if len(text) <= 80 and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"a {type(value).__name__} of shape {tuple(shape)}"


def shorter(text: str, longest: int) -> str:
    """Shorten a string to one line of at most ``longest`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def printable(text: str, longest: int = 80) -> str:
    """Format an arbitrary string, such as a key of a file, on one short line."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= longest else f"{line[:longest]}…"


def reason_of(error: Exception) -> str:
    """Format the message of another library's exception on one short line."""
    return shorter(str(error), 120) or type(error).__name__


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error message: the closest known name, or all of them."""
    names = sorted(set(choices))
    # People write PCM for pcm and "read noise" for read_noise. An exact spelling takes precedence.
    plain = {_plain(known): known for known in names} | {known: known for known in names}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.8) or difflib.get_close_matches(_plain(name), plain, 1)
    return f"did you mean '{plain[close[0]]}'?" if close else f"known: {', '.join(names)}"


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def nearest_of(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error message about a short list: the closest known name and the list, or only the list."""
    names = list(choices)
    close = nearest(name, names)
    listed = f"known: {', '.join(names)}"
    return f"{close} ({listed})" if close.startswith("did") else listed
