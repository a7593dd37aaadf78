"""Whose protocols are. What a ``connection_made`` or ``data_received`` raises comes out of the event loop, or is told
to its handler of exceptions, and uvloop says of neither in whose context it happened."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..attribution.tasks import CodeOwner, owner

if TYPE_CHECKING:
    _Base = asyncio.SelectorEventLoop
else:
    _Base = object

__all__ = ["Protocols"]

_MAKERS = (
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "subprocess_exec",
    "subprocess_shell",
)
"""Methods of loops whose first argument makes a protocol."""


class Protocols(_Base):
    """Mixed into a class of event loops."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def whose(self, protocol: object) -> CodeOwner | None:
        """Return who has made a protocol, as far as is known."""
        # Protocols may have slots and no weak references, or no hash. Their errors are told without a name.
        with suppress(TypeError):
            found: CodeOwner | None = self._owners.get(protocol)
            return found
        return None

    def whose_in(self, trace: TracebackType | None) -> CodeOwner | None:
        """Return whose protocol's method is in a traceback."""
        while trace is not None:
            # A method's own name for itself is its first argument.
            code = trace.tb_frame.f_code
            if code.co_argcount:
                found = self.whose(trace.tb_frame.f_locals.get(code.co_varnames[0]))
                if found is not None:
                    return found
            trace = trace.tb_next
        return None

    def _owned(self, factory: Any) -> Any:
        who = owner()
        if who is None or not callable(factory):
            return factory
        # Weakly: a server that outlives its job would keep the job, and all that its block has used, for as long.
        owners, known = self._owners, weakref.ref(who)

        def make() -> Any:
            protocol = factory()
            # Not those without weak references, or that are equal to anything.
            with suppress(TypeError):
                if (maker := known()) is not None:
                    owners[protocol] = maker
            return protocol

        return make


def _maker(name: str) -> Callable[..., Any]:
    def make(self: Any, factory: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(super(Protocols, self), name)(self._owned(factory), *args, **kwargs)

    make.__name__ = make.__qualname__ = name
    return make


for _name in _MAKERS:
    setattr(Protocols, _name, _maker(_name))
