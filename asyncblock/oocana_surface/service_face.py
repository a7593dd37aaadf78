"""Services that were written for ``oocana``: what their ``main(service)`` gets is of that package's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .calls import require_oocana

__all__ = ["oocana_service"]


def oocana_service(ours: Any) -> Any:
    """Return what a service's ``main`` of that package takes, made of what one of ours takes.

    Raises ``Unavailable`` without the package.
    """
    require_oocana("the service")
    import oocana

    class OocanaService(oocana.ServiceContextAbstractClass):  # type: ignore[misc]  # the package has no types
        """A service, as that package shows it. Any thread that the service starts may use it."""

        @property
        def block_handler(self) -> Any:
            """The handlers of calls."""
            return ours.block_handler

        @block_handler.setter
        def block_handler(self, value: Any) -> None:
            ours.block_handler = value

        @property
        def waiting_ready_notify(self) -> bool:
            """Whether calls wait for ``notify_ready``."""
            return bool(ours.waiting_ready_notify)

        @waiting_ready_notify.setter
        def waiting_ready_notify(self, value: bool) -> None:
            ours.waiting_ready_notify = value

        def __setitem__(self, key: str, value: Any) -> None:
            ours[key] = value

        def notify_ready(self) -> None:
            """Let the waiting calls in."""
            ours.notify_ready()

        def add_message_callback(self, callback: Callable[[Mapping[str, Any]], Any]) -> None:
            """Call a function with each message that a client sends to the service."""
            ours.add_message_callback(callback)

    return OocanaService()
