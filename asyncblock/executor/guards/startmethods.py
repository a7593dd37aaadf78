"""``multiprocessing.set_start_method`` in an executor process: each job's own.

It can be called once in a process: the second job that does so would fail, and what the first has chosen would hold for
all others. What a module chooses when it is imported holds for all jobs that choose nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from ..attribution.replacing import Replacements
from ..attribution.tasks import owner

__all__ = ["StartMethods"]

_MODULE = "multiprocessing.context"
_CHOSEN = "_actual_context"


class StartMethods(Replacements):
    """What is replaced there, now or when it is imported."""

    def __init__(self) -> None:
        super().__init__({_MODULE: ()})

    def patch(self, module: ModuleType) -> None:
        """Let the context that has been chosen be each job's own."""
        kind = module.DefaultContext
        if not isinstance(vars(kind).get(_CHOSEN), _Chosen):
            chosen = _Chosen()
            setattr(kind, _CHOSEN, chosen)
            kind.set_start_method = _setting(kind.set_start_method, chosen)
            package = sys.modules.get("multiprocessing")
            if hasattr(package, "set_start_method"):
                setattr(package, "set_start_method", module._default_context.set_start_method)  # noqa: B010


class _Chosen:
    """An attribute that each job may have for itself."""

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def __get__(self, context: Any, kind: object = None) -> Any:
        if context is None:
            return self
        who = owner()
        return (None if who is None else self.of.get(who)) or vars(context).get(_CHOSEN)

    def __set__(self, context: Any, chosen: Any) -> None:
        who = owner()
        if who is None:
            vars(context)[_CHOSEN] = chosen
        else:
            self.of[who] = chosen


def _setting(original: Callable[..., None], chosen: _Chosen) -> Callable[..., None]:
    @wraps(original)
    def set_start_method(self: Any, method: str | None, force: bool = False) -> None:
        who = owner()
        if who is None:
            shared = vars(self).get(_CHOSEN)
            # Another package's modules may have chosen the same.
            original(self, method, force or (shared is not None and shared.get_start_method() == method))
        elif method is None and force:
            chosen.of.pop(who, None)
        elif who in chosen.of and not force:
            raise RuntimeError("context has already been set")
        else:
            chosen.of[who] = self.get_context(method)

    return set_start_method
