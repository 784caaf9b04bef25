"""``with`` blocks that change how the analog layers of a model compute: ``digital`` and ``override_hardware``.

A block is active in the thread that entered it, until it is left, for everything traced or computed eagerly meanwhile.
It is part of the key of JAX's compilation caches (``jax.make_user_context``). Consequences:

    compiled functions    a function compiled outside is traced and compiled again when called inside, and vice versa;
                          both programs stay in the cache
    ahead of time         ``jax.jit(f).lower(x).compile()`` returns a finished program: blocks around ``lower`` apply,
                          blocks around its calls do not
    threads               a thread started inside begins without blocks, as with ``numpy.errstate``: enter a block in
                          the function that it runs. Callbacks of compiled programs run in separate threads
    generators            a block open at a ``yield`` stays active for the caller until the generator leaves it. Blocks
                          may be left in any order: exactly those that are still open are active
    coroutines            a block open at an ``await`` would affect other tasks of the loop, and JAX's caches do not
                          distinguish tasks: leaving it raises an error, as results of the tasks may be wrong
    copies of contexts    ``contextvars.copy_context()`` does not copy blocks
    exceptions            leave the block, as usual
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
    """The open blocks of one kind in each thread, and their combined value.

    Args:
      context: from ``jax.make_user_context``.
      joined: function that combines the contents of the open blocks, the outermost first.
    """

    def __init__(self, context: Any, joined: Callable[[list[Any]], Any]):
        self._context, self._joined = context, joined
        self._here = threading.local()
        _scopes.append(self)

    @property
    def value(self) -> Any:
        """Combined value of the blocks that are open in this thread."""
        return self._context.value

    def enter(self, content: Any) -> "Opened":
        """Open a block."""
        opened = Opened(content)
        self._set([*self._open(), opened])
        return opened

    def leave(self, opened: "Opened") -> None:
        """Close a block, even if others were opened since.

        Raises:
          InputError: in another thread than the one that opened it, where it stays active until the next block is
            entered.
        """
        # Closed even if the check below raises: the thread that entered the block drops it in ``tidy``.
        opened.is_closed = True
        if opened.thread != threading.get_ident():
            raise InputError(
                "a block (digital, override_hardware) is left in another thread than it was entered in, perhaps by a "
                "generator that was resumed elsewhere: enter and leave it in one thread"
            )
        self._set(self._open())

    def tidy(self) -> None:
        """Close blocks of this thread that were left in another thread."""
        if any(opened.is_closed for opened in getattr(self._here, "opened", ())):
            self._set(self._open())

    def _open(self) -> list["Opened"]:
        """Return the open blocks of this thread, the outermost first."""
        return [opened for opened in getattr(self._here, "opened", ()) if not opened.is_closed]

    def _set(self, opened: list["Opened"]) -> None:
        before, self._here.opened = getattr(self._here, "opened", ()), opened
        if not opened:
            if before:  # restores the value from before the outermost block
                self._here.outermost.__exit__(None, None, None)
            return
        # Inner contexts are never exited: each would restore the value from before itself, perhaps that of a block
        # that was left in the meantime. Only the outermost restores.
        context = self._context(self._joined([one.content for one in opened]))
        if not before:
            self._here.outermost = context
        context.__enter__()


class Opened:
    """One entry of a block."""

    def __init__(self, content: Any):
        self.content, self.thread, self.is_closed = content, threading.get_ident(), False


class Block(contextlib.ContextDecorator):
    """A reentrant ``with`` block, also usable as a decorator.

    Args:
      scope: scope that the block is opened in.
      content: called at every entry; returns the block's content.
      name: name for messages.
    """

    def __init__(self, scope: Scope, content: Callable[[], Any], name: str):
        self._scope, self._content, self._name = scope, content, name
        self._entries: list[tuple[Opened, Any]] = []

    def __enter__(self) -> None:
        # A block that was left in another thread is still in force here: that thread cannot change this context.
        for scope in _scopes:
            scope.tidy()
        turn = _Turn.of_this_loop()
        self._entries.append((self._scope.enter(self._content()), turn))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # One decorated function may run in several threads at once: leave the last entry of this thread.
        here = [entry for entry in self._entries if entry[0].thread == threading.get_ident()]
        opened, turn = entry = (here or self._entries)[-1]
        self._entries.remove(entry)
        awaited = turn is not None and turn.ended()
        self._scope.leave(opened)
        if awaited and error is None:
            raise InputError(
                f"{self._name}: the block was open during an await and so affected other tasks of the event loop; "
                f"await outside of the block, and compute inside"
            )

    def __call__(self, function: Any) -> Any:
        """Decorate a function.

        Raises:
          InputError: for a coroutine or generator, whose body runs after the block is left.
        """
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or (
            inspect.isasyncgenfunction(function)
        ):  # fmt: skip
            raise InputError(
                f"{self._name}: cannot decorate '{function.__name__}', a coroutine or generator, whose body runs after "
                f"the block; enter the block inside of it"
            )
        return super().__call__(function)


class _Turn:
    """Detects whether an event loop switched to other work, as it does at an ``await``."""

    def __init__(self, loop: Any):
        self._has_turned = False
        # A loop runs callbacks only between the steps of tasks: once this one has run, the block was open at an await.
        self._handle = loop.call_soon(self._turned)

    @classmethod
    def of_this_loop(cls) -> "_Turn | None":
        """Return a detector for the running event loop, or None."""
        try:
            return cls(asyncio.get_running_loop())
        except RuntimeError:
            return None

    def _turned(self) -> None:
        self._has_turned = True

    def ended(self) -> bool:
        """Stop, and return whether the loop switched."""
        self._handle.cancel()
        return self._has_turned
