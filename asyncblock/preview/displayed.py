"""Objects that show themselves only by calling IPython's ``display``: what they display is caught and shown.

``display`` prints if there is no IPython shell. So while such an object displays itself there is a shell that catches
it, for the code in that context alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from ..errors import PreviewFailed
from ..runtime.forks import fresh_lock

__all__ = ["Bundle", "displayed", "displays"]

_METHOD = "_ipython_display_"

_OBJECT = "application/x-asyncblock-object"
"""The media type under which ``display`` hands on an object itself."""

_MOST = 50
"""Things of one object that are taken."""


class Bundle(dict[str, Any]):
    """Representations by media type that an object has displayed as they are."""


class _Shell:
    """Takes the place of IPython's shell, with what ``display`` needs of one."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.error: BaseException | None = None
        self.display_formatter = self
        self.display_pub = self

    def format(self, value: Any, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Hand an object on as it is: it is converted as every other one."""
        return {_OBJECT: value}, {}

    def publish(self, data: Mapping[str, Any], metadata: Any = None, **more: Any) -> None:
        """Take what is displayed. An update replaces what was displayed under the same id."""
        if more.get("update"):
            self.taken.clear()
        if len(self.taken) < _MOST and data:
            self.taken.append(data[_OBJECT] if _OBJECT in data else Bundle(data))

    def clear_output(self, wait: bool = False) -> None:
        """Take nothing of what was displayed before."""
        self.taken.clear()


_shell: ContextVar[_Shell | None] = ContextVar("_shell", default=None)
_lock = fresh_lock()


def displays(value: object) -> bool:
    """Tell whether a value displays itself."""
    return callable(getattr(type(value), _METHOD, None))


def displayed(value: Any) -> list[Any]:
    """Return what an object displays: objects, and ``Bundle``s. Raises ``PreviewFailed`` when its method raises."""
    with _taking() as shell:
        try:
            getattr(value, _METHOD)()
        except Exception as problem:
            # The author's code, or a library's.
            raise PreviewFailed(f"its {_METHOD} raised {type(problem).__name__}: {problem}") from problem
    return shell.taken


@contextmanager
def _taking() -> Iterator[_Shell]:
    try:
        kind = import_module("IPython.core.interactiveshell").InteractiveShell
    except ImportError:
        # Without IPython the object displays itself by other means, or raises an error that says what is missing.
        kind = None
    if kind is not None:
        _prepare(kind)
    shell = _Shell()
    token = _shell.set(shell)
    try:
        yield shell
    finally:
        _shell.reset(token)


def _prepare(kind: Any) -> None:
    """Let IPython's class of shells answer with ours where one is set; everywhere else it answers as before."""
    with _lock:
        if "_asyncblock_" in vars(kind):
            return

        def initialized(cls: Any) -> bool:
            return _shell.get() is not None or bool(super(kind, cls).initialized())

        def instance(cls: Any, *given: Any, **named: Any) -> Any:
            ours = _shell.get()
            return super(kind, cls).instance(*given, **named) if ours is None else ours

        kind.initialized, kind.instance = classmethod(initialized), classmethod(instance)
        kind._asyncblock_ = True
