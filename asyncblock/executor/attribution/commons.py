"""What all jobs of a process have in common, and which of them has changed it: told when that job ends, never undone.

To undo it would break jobs that overlap. What changes such a state is replaced by a function that notes who called it
and what was there before; at the job's end it is looked at again, so a change that is taken back is none. A job that
changes nothing pays nothing. What an import does isn't the block's.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import resource
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from .replacing import Patches, Replacements
from .tasks import owner

__all__ = ["CHANGED", "HANDLERS", "Changes", "Commons"]

_MOST = 50
"""Changes that are noted of a job."""

_SHOWN = 3
"""Names that are told of one kind."""

_DEPTH = 60
"""Frames that are looked through for the import that made a call."""

CHANGED = (
    "the block has changed for all jobs of its process, and left changed: {}. With spawn: true in its manifest it has "
    "a process of its own"
)

HANDLERS = "the root logger's handlers"
"""What is changed by more than functions: by ``handlers.clear()``."""

DISABLED_LOGGERS = "loggers of others, which logging.config disables unless disable_existing_loggers is False"

Now = Callable[[], object]


class Changes:
    """What one job has changed."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], tuple[object, Now]] = {}

    def note(self, kind: str, name: str, before: object, now: Now) -> None:
        """Note what was there before the job's first change. From any thread."""
        if len(self._noted) < _MOST:
            self._noted.setdefault((kind, name), (before, now))

    def knows(self, kind: str, name: str) -> bool:
        """Tell whether that is noted."""
        return (kind, name) in self._noted

    def words(self) -> str | None:
        """Say what isn't again as it was."""
        found: dict[str, list[str]] = {}
        for (kind, name), (before, now) in list(self._noted.items()):
            try:
                left = now() != before
            except Exception:
                # What can't be read any more isn't as it was.
                left = True
            if left:
                found.setdefault(kind, []).append(name)
        if not found:
            return None
        return CHANGED.format(", ".join(_listed(kind, names) for kind, names in found.items()))


def _listed(kind: str, names: list[str]) -> str:
    names = [name for name in names if name]
    if not names:
        return kind
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} ({', '.join(names[:_SHOWN])}{more})"


class Commons(Replacements):
    """The replaced functions, and what was there before."""

    def __init__(self) -> None:
        super().__init__(_PATCHES)


def _note(kind: str, name: str, before: Callable[[], object], now: Now) -> None:
    """Note a change that is about to be made, if a job makes it."""
    who = owner()
    changes = getattr(who, "changes", None)
    if changes is None or (noted := changes()) is None or noted.knows(kind, name) or _is_import():
        return
    try:
        noted.note(kind, name, before(), now)
    except Exception:
        # Of what can't be read nothing can be said.
        return


def _is_import() -> bool:
    frame = sys._getframe(2)
    for _ in range(_DEPTH):
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        # A block's own file, whose import is the author's doing.
        if frame.f_back is None or str(frame.f_globals.get("__name__")).startswith("blocks_of."):
            return False
        frame = frame.f_back
    return False


def _changing(kind: str, now: Now, name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what replaces a function that changes one thing."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            _note(kind, name, now, now)
            return original(*args, **kwargs)

        return change

    return wrap


def _seeding(words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # Each look at it finds another state.
    return _changing(words, object)


def _of_environment(original: Callable[..., Any]) -> Callable[..., Any]:
    def change(name: Any, *value: Any) -> Any:
        text = os.fsdecode(name)
        _note("os.environ", text, lambda: os.environ.get(text), lambda: os.environ.get(text))
        return original(name, *value)

    return change


def _of_locale(original: Callable[..., Any]) -> Callable[..., Any]:
    def now() -> object:
        return original(locale.LC_ALL)

    def setlocale(category: int, *wanted: Any, **named: Any) -> Any:
        if any(each is not None for each in (*wanted, *named.values())):
            _note("the locale", "", now, now)
        return original(category, *wanted, **named)

    return setlocale


def _of_root(kind: str, now: Now) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what replaces a method of loggers: that of the root counts."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def change(self: logging.Logger, *args: Any, **kwargs: Any) -> Any:
            if self is logging.root:
                _note(kind, "", now, now)
            return original(self, *args, **kwargs)

        return change

    return wrap


def _of_filters(original: Callable[..., Any]) -> Callable[..., Any]:
    def change(*args: Any, **kwargs: Any) -> Any:
        if owner() is None:
            return original(*args, **kwargs)
        had = list(warnings.filters)
        made = original(*args, **kwargs)
        for each in warnings.filters:
            # One that is set again only moves.
            if each not in had:
                name = f"{each[0]} {getattr(each[2], '__name__', '')}"
                _note("the filters of warnings", name, bool, partial(_is_filter, each))
        return made

    return change


def _is_filter(each: object) -> bool:
    return each in warnings.filters


def _of_settings(original: Callable[..., Any]) -> Callable[..., Any]:
    def change(self: Any, key: Any, value: Any) -> None:
        if self is getattr(sys.modules.get("matplotlib"), "rcParams", None) and "backend" not in str(key):
            # Past the class, which would check and choose.
            now: Now = partial(dict.get, self, key)
            _note("matplotlib's rcParams", str(key), now, now)
        original(self, key, value)

    return change


def _of_limits(original: Callable[..., Any]) -> Callable[..., Any]:
    def setrlimit(which: int, limits: Any) -> Any:
        now: Now = partial(sys.modules["resource"].getrlimit, which)
        _note("the limits of the process", _LIMITS.get(which, str(which)), now, now)
        return original(which, limits)

    return setrlimit


def _of_options(original: Callable[..., Any]) -> Callable[..., Any]:
    def change(*args: Any, **kwargs: Any) -> Any:
        names = [*args[0]] if args and isinstance(args[0], dict) else args[::2]
        for name in names:
            now: Now = partial(sys.modules[_PANDAS].get_option, name)
            _note("pandas' options", str(name), now, now)
        return original(*args, **kwargs)

    return change


def _umask() -> object:
    # What tells it from Python sets it, and another thread may make a file meanwhile.
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next((line for line in status if line.startswith("Umask")), None)


def _priority() -> object:
    return os.getpriority(os.PRIO_PROCESS, 0)


def _level() -> object:
    return logging.root.level


def _disabled() -> object:
    return logging.root.manager.disable


def _handlers() -> object:
    return [*logging.root.handlers]


def _disabled_loggers() -> object:
    return {name for name, each in logging.root.manager.loggerDict.items() if getattr(each, "disabled", False)}


_PANDAS = "pandas._config.config"

_LIMITS = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}

_PATCHES: Patches = {
    "os": [
        ("umask", _changing("the umask", _umask)),
        ("nice", _changing("the priority", _priority)),
        ("setpriority", _changing("the priority", _priority)),
        ("chdir", _changing("the working directory", os.getcwd)),
        ("fchdir", _changing("the working directory", os.getcwd)),
        ("putenv", _of_environment),
        ("unsetenv", _of_environment),
    ],
    "locale": [("setlocale", _of_locale)],
    "resource": [("setrlimit", _of_limits)],
    "socket": [("setdefaulttimeout", _changing("the time limit of new sockets", socket.getdefaulttimeout))],
    "gc": [(name, _changing("whether garbage is collected", gc.isenabled)) for name in ("disable", "enable")],
    "sys": [
        ("setrecursionlimit", _changing("the recursion limit", sys.getrecursionlimit)),
        ("setswitchinterval", _changing("the switch interval of threads", sys.getswitchinterval)),
    ],
    "logging": [
        ("disable", _changing("logging.disable()", _disabled)),
        ("Logger.setLevel", _of_root("the root logger's level", _level)),
        ("Logger.removeHandler", _of_root(HANDLERS, _handlers)),
        ("Logger.addHandler", _of_root(HANDLERS, _handlers)),
    ],
    "logging.config": [
        ("dictConfig", _changing(DISABLED_LOGGERS, _disabled_loggers)),
        ("fileConfig", _changing(DISABLED_LOGGERS, _disabled_loggers)),
    ],
    "warnings": [("simplefilter", _of_filters), ("filterwarnings", _of_filters)],
    "random": [("seed", _seeding("the seed of random"))],
    "numpy.random": [
        (
            "seed",
            _seeding(
                "the seed of np.random, a generator that all jobs share (np.random.default_rng(seed) is a job's own)"
            ),
        )
    ],
    "matplotlib": [("RcParams.__setitem__", _of_settings)],
    # The options that are attributes call the one or the other, which depends on the version.
    _PANDAS: [("set_option", _of_options), ("_set_option", _of_options)],
}
