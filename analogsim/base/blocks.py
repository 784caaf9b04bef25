"""``with`` blocks that change how the analog layers of a model compute: ``digital`` and ``override_hardware``.

A block is in force in the thread that entered it, from there until it is left, for all that is traced or computed
directly meanwhile. It is a part of the key of jax's compilation caches (``jax.make_user_context``). That decides what
it means for

    compiled functions    one that was compiled outside is traced and compiled anew when it is called inside, and the
                          other way around; both stay in the cache
    ahead of time         what ``jax.jit(f).lower(x).compile()`` gives is a finished program: the blocks around
                          ``lower`` count, those around its calls do not
    threads               a thread that is started inside begins without blocks, as with ``numpy.errstate``: enter
                          one in the function that it runs. Callbacks of compiled programs run in threads of their own
    generators            a block that is open at a ``yield`` stays in force for whoever goes on, until the generator
                          leaves it. Blocks may be left in any order: those that are still open are in force, no others
    coroutines            a block that is open at an ``await`` would reach the other tasks of the loop, and jax's caches
                          know no tasks: it is refused when it is left, with the tasks' results in doubt
    copies of contexts    ``contextvars.copy_context()`` takes no block along, and leaves none behind
    exceptions            leave the block, as always
"""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

from analogsim.base.errors import InputError

_scopes: list["Scope"] = []


class Scope:
    """Blocks of one kind that are open in each thread, and the value that they give together.

    Args:
      context: from ``jax.make_user_context``.
      joined: the value that open blocks give, from what they were entered with, the outermost first.
    """

    def __init__(self, context: Any, joined: Callable[[list[Any]], Any]):
        self._context, self._joined = context, joined
        self._here = threading.local()
        _scopes.append(self)

    @property
    def value(self) -> Any:
        """What is in force in this thread."""
        return self._context.value

    def enter(self, content: Any) -> "Opened":
        """Open a block."""
        opened = Opened(content)
        self._set([*self._open(), opened])
        return opened

    def leave(self, opened: "Opened") -> None:
        """Close a block, whatever else was opened since.

        Raises:
          InputError: in another thread than that which opened it; there it stays in force until the next block is
            entered.
        """
        opened.is_closed = True
        if opened.thread != threading.get_ident():
            raise InputError(
                "a block (digital, override_hardware) is left in another thread than it was entered in, perhaps by a "
                "generator that went on elsewhere: enter and leave it in one thread"
            )
        self._set(self._open())

    def tidy(self) -> None:
        """Close what was left in another thread."""
        if any(opened.is_closed for opened in getattr(self._here, "opened", ())):
            self._set(self._open())

    def _open(self) -> list["Opened"]:
        """Blocks of this thread that are open, the outermost first."""
        return [opened for opened in getattr(self._here, "opened", ()) if not opened.is_closed]

    def _set(self, opened: list["Opened"]) -> None:
        before, self._here.opened = getattr(self._here, "opened", ()), opened
        if not opened:
            if before:  # back to jax's own value, whatever it was
                self._here.outermost.__exit__(None, None, None)
            return
        context = self._context(self._joined([one.content for one in opened]))
        if not before:
            self._here.outermost = context
        context.__enter__()


class Opened:
    """One entry into a block."""

    def __init__(self, content: Any):
        self.content, self.thread, self.is_closed = content, threading.get_ident(), False


class Block(contextlib.ContextDecorator):
    """A ``with`` block; it can be entered again, also inside of itself, and decorates functions.

    Args:
      scope: where it is opened.
      content: called at every entry, for what is entered.
      name: for messages.
    """

    def __init__(self, scope: Scope, content: Callable[[], Any], name: str):
        self._scope, self._content, self._name = scope, content, name
        self._entries: list[tuple[Opened, Any]] = []

    def __enter__(self) -> None:
        for scope in _scopes:
            scope.tidy()
        turn = _Turn.of_this_loop()
        self._entries.append((self._scope.enter(self._content()), turn))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        here = [entry for entry in self._entries if entry[0].thread == threading.get_ident()]
        opened, turn = entry = (here or self._entries)[-1]
        self._entries.remove(entry)
        awaited = turn is not None and turn.ended()
        self._scope.leave(opened)
        if awaited and error is None:
            raise InputError(
                f"{self._name}: the block was left open over an await, so that it was in force for other tasks of the "
                f"event loop, too; await outside of it, and compute inside"
            )

    def __call__(self, function: Any) -> Any:
        """Decorate a function; refused for one whose body runs after its call."""
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or (
            inspect.isasyncgenfunction(function)
        ):  # fmt: skip
            raise InputError(
                f"{self._name}: decorates '{function.__name__}', a coroutine or generator, whose body runs after the "
                f"block; enter the block inside of it"
            )
        return super().__call__(function)


class _Turn:
    """Notes whether an event loop went on to other work, as it does at an ``await``."""

    def __init__(self, loop: Any):
        self._has_turned = False
        self._handle = loop.call_soon(self._turned)

    @classmethod
    def of_this_loop(cls) -> "_Turn | None":
        """For the loop that runs this code, if one does."""
        try:
            return cls(asyncio.get_running_loop())
        except RuntimeError:
            return None

    def _turned(self) -> None:
        self._has_turned = True

    def ended(self) -> bool:
        """Stop, and say whether it did."""
        self._handle.cancel()
        return self._has_turned
