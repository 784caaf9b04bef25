"""Assign hardware to layers by ordered rules; the first rule that matches a layer decides.

A rule is a pair (selector, hardware); hardware None keeps the layer digital. A selector is

    a string       a regular expression that must match the full path of the layer, ``"encoder/.*"``
    a type         ``nn.Conv``; a module that contains layers, such as attention, selects all layers inside
    types          a tuple of such types
    a function     a predicate on a ``Candidate``: ``lambda layer: layer.shape[0] < 64``

A rule that matches no layer, and a selected layer that cannot be converted, raise errors.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.hardware.hardware import Hardware

Selector = str | type | tuple[type, ...] | Callable[["Candidate"], bool]
Rules = tuple[tuple[Selector, Hardware | None], ...]


#: Path of a layer that is itself the model.
ROOT = "(the model itself)"


def attending(path: str) -> str:
    """Return the path of ``Embed.attend``, for an Embed at ``path``."""
    return "attend" if path == ROOT else f"{path}/attend"


def holder(path: str) -> str:
    """Return the path of the layer that owns the parameters: ``path`` itself, or the Embed of an ``attend`` path."""
    return ROOT if path == "attend" else path.removesuffix("/attend")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layer with a weight matrix, as passed to selectors.

    Attributes:
      path: path of its variables, ``"encoder/Dense_0"``.
      module: the Flax layer; None for a parameter outside of any layer.
      shape: shape of its kernel or table.
      within: the modules that contain it, innermost first.
      part_of: for a core of a compressed layer, the path of that layer, which patterns match too; else empty.
      stands_for: for a core of a compressed layer of an NNX model, the class of that layer before it was compressed.
        Rules by type see a core by this class and by what holds it, not as the DenseGeneral that computes it.
    """

    path: str
    module: Any
    shape: tuple[int, ...]
    within: tuple[Any, ...] = ()
    part_of: str = ""
    stands_for: type | None = None

    @property
    def kind(self) -> str:
        """Name of the layer's class; ``"parameter"`` outside of any layer."""
        return "parameter" if self.module is None else type(self.module).__name__


def checked_rules(hardware: Any, where: Any) -> Rules:
    """Return validated rules from ``Hardware`` with an optional selector ``where``, or from a sequence of pairs.

    Raises:
      InputError: for anything else, or for an invalid selector.
    """
    everything = where is None
    if isinstance(hardware, Hardware):
        pairs: Any = ((".*" if everything else where, hardware),)
    elif not everything:
        raise InputError(f"where = {where!r}: goes with a single hardware; rules carry their own selectors")
    else:
        pairs = hardware
    if not isinstance(pairs, Sequence) or isinstance(pairs, str):
        raise InputError(f"hardware = {hardware!r}: must be a Hardware or a sequence of (selector, Hardware or None)")
    return tuple(_checked(rule) for rule in pairs)


def _checked(rule: Any) -> tuple[Selector, Hardware | None]:
    if not (isinstance(rule, Sequence) and len(rule) == 2 and not isinstance(rule, str)):
        raise InputError(f"rule {rule!r}: must be a pair (selector, Hardware or None)")
    selector, target = rule
    if isinstance(selector, list):
        selector = tuple(selector)
    if target is not None and not isinstance(target, Hardware):
        raise InputError(f"rule {name_of(selector)}: {target!r} must be a Hardware such as preset('pcm'), or None")
    if isinstance(selector, str):
        try:
            re.compile(selector)
        except re.error as error:
            raise InputError(f"rule {selector!r}: not a regular expression ({error})") from None
    elif not (callable(selector) or (isinstance(selector, tuple) and all(isinstance(t, type) for t in selector))):
        raise InputError(
            f"rule {selector!r}: must select by a pattern on paths, a type of layer, a tuple of types or a function"
        )
    return selector, target


def name_of(selector: Any) -> str:
    """Return the name of a selector for messages."""
    if isinstance(selector, str):
        return repr(selector)
    if isinstance(selector, tuple):
        return "(" + ", ".join(name_of(one) for one in selector) + ")"
    return getattr(selector, "__name__", repr(selector))


def selects(selector: Selector, layer: Candidate) -> bool:
    """Return whether a selector matches a layer.

    Raises:
      InputError: if a selector function does not return a boolean.
    """
    if isinstance(selector, str):
        return any(re.fullmatch(selector, path) for path in (layer.path, layer.part_of) if path)
    if isinstance(selector, (type, tuple)):
        if any(isinstance(module, selector) for module in layer.within):
            return True
        if layer.part_of:  # a core's class derives from DenseGeneral, which must not select it
            kinds = selector if isinstance(selector, tuple) else (selector,)
            return type(layer.module) in kinds or (layer.stands_for is not None and issubclass(layer.stands_for, kinds))
        return isinstance(layer.module, selector)
    answer = selector(layer)
    if not isinstance(answer, (bool, np.bool_)):
        raise InputError(f"rule {name_of(selector)}: gave {answer!r} for layer {layer.path}: must give True or False")
    return bool(answer)


class Matches:
    """Applies rules to the layers of one model and records which rules were used."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self._used: set[int] = set()
        self._paths: dict[str, None] = {}
        #: Matrix-shaped parameters outside of any layer that a rule assigns hardware to.
        self.doubtful: set[str] = set()

    def decide(self, layer: Candidate) -> tuple[Hardware | None, str]:
        """Return the layer's hardware and ``""``, or None and the reason why it stays digital."""
        self._paths[layer.path] = None
        for index, (selector, hardware) in enumerate(self.rules):
            if selects(selector, layer):
                self._used.add(index)
                return hardware, "" if hardware is not None else f"rule {name_of(selector)}"
        return None, "no rule"

    def decide_about_parameters(self, parameters: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Apply the rules to matrices outside of any layer, given as (path, shape); fills ``doubtful``.

        Shapes do not tell whether such a parameter is multiplied with inputs or only added.
        """
        layers = dict(self._paths)
        for path, shape in parameters:
            if sum(size > 1 for size in shape) < 2 or path in layers or (path.rpartition("/")[0] or ROOT) in layers:
                continue
            if self.decide(Candidate(path, None, shape))[0] is not None:
                self.doubtful.add(path)
        # ``decide`` has added these paths, but error messages list layers only.
        self._paths = layers

    def check(self) -> None:
        """Raise ``InputError`` for a rule that matched no layer."""
        for index, (selector, _) in enumerate(self.rules):
            if index not in self._used:
                layers = ", ".join(self._paths) or "none"
                raise InputError(
                    f"rule {name_of(selector)} decides about no layer; the model's matrix layers: {layers}"
                )


def cannot(layer: Candidate, why: str) -> InputError:
    """Return the error for a selected layer that cannot be converted."""
    return InputError(
        f"layer {layer.path} ({layer.kind}) cannot run on analog hardware: {why}; keep it digital with a first "
        f"rule ({layer.path!r}, None), or pass strict=False"
    )
