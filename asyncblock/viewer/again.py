"""Starts a session again: the same version of its flow, with its inputs or others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ..client import Mainframe
from ..errors import Rejected
from ..flow.plan import Plan
from ..runtime.offload import run_in_thread
from .inputforms import fields_of, read_form

__all__ = ["Again"]


class Again:
    """A session's flow and inputs, from which another session can be started."""

    def __init__(self, mainframe: Mainframe, session_id: str) -> None:
        self._mainframe = mainframe
        self._session_id = session_id

    async def form(self) -> dict[str, Any]:
        """Return the fields of the form, with the values of the session.

        **Cancellation** is safe. Raises as ``Session.plan``.
        """
        plan, before, title, _ = await self._past()
        return {"title": title, "fields": fields_of(plan, before)}

    async def start(self, sent: Mapping[str, Any]) -> str:
        """Start a session and return its id.

        **Durability** and **Cancellation** as ``Mainframe.start``. Raises ``InvalidInputs`` naming the field.
        """
        plan, before, title, metadata = await self._past()
        given = read_form(plan, before, sent)
        session = await self._mainframe.start(plan, given, title=title, metadata=metadata)
        return session.session_id

    async def _past(self) -> tuple[Plan, dict[str, Any], str, dict[str, Any]]:
        page = await self._mainframe.links.of(self._session_id).read(self._session_id, 0, max_bytes=1)
        return await run_in_thread(_begun, page.rows[0][1] if page.rows else ())


def _begun(lines: tuple[bytes, ...] | list[bytes]) -> tuple[Plan, dict[str, Any], str, dict[str, Any]]:
    for line in lines:
        entry = orjson.loads(line)
        if entry.get("type") == "SessionStarted":
            plan = Plan.from_json(entry["plan"])
            return plan, dict(entry["inputs"]), str(entry.get("title", "")), dict(entry.get("metadata", {}))
    raise Rejected("the session's first row doesn't hold its plan", code="read")
