"""What a member of a set answers while it stands by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from ...transport.upgrades import OWNER_HEADER
from ...transport.websocket import HttpAnswer
from ..peers.access import Access
from ..reception.metrics import OPENMETRICS, TEXT, standing_text
from .ownership import Ownership, OwnerState

__all__ = ["StandbyDoor"]


class StandbyDoor:
    """Answers every HTTP request of a member that doesn't serve: a websocket is told where the owner is."""

    def __init__(self, access: Access, own: Ownership, set_name: str, connected: Callable[[], bool]) -> None:
        """``connected`` tells whether there is a NATS server at the moment."""
        self._access = access
        self._own = own
        self._set_name = set_name
        self._connected = connected

    def answer(self, path: str, headers: Mapping[str, str]) -> HttpAnswer:
        """Answer a request."""
        path = path.split("?", 1)[0]
        if path == "/healthz":
            return self._health()
        if self._access.principal(headers) is None:
            return HttpAnswer(401, b"a valid token is needed: 'Authorization: Bearer TOKEN'\n")
        if path == "/metrics":
            openmetrics = "application/openmetrics-text" in headers.get("accept", "")
            text = standing_text(self.standing(), openmetrics=openmetrics)
            return HttpAnswer(200, text.encode(), OPENMETRICS if openmetrics else TEXT)
        owner = self._owner_address
        where = f"the owner is at {owner}" if owner else "nobody owns the set yet"
        more = {OWNER_HEADER: owner, "Retry-After": "1"}
        return HttpAnswer(503, f"this mainframe stands by, {where}\n".encode(), more=more)

    def standing(self) -> dict[str, int]:
        """Return what its metrics say of the set, as the owner, too."""
        owns = self._own.owns
        return {"owner": int(owns), "standby": int(not owns), "term": self._own.term}

    @property
    def _owner_address(self) -> str:
        return "" if self._own.owner == self._own.member else self._own.address

    @property
    def trouble(self) -> str | None:
        """Why it couldn't take over at the moment; None when all is well."""
        if not self._connected():
            return "no NATS server is connected"
        if self._own.state is OwnerState.IN_DOUBT:
            return "it isn't known whether the partition is still ours"
        return None

    def _health(self) -> HttpAnswer:
        trouble = self.trouble
        status = "standby" if trouble is None else "trouble"
        body = {"status": status, "trouble": trouble, "set": self._set_name, "owner": self._owner_address}
        return HttpAnswer(200 if trouble is None else 503, orjson.dumps(body), "application/json")
