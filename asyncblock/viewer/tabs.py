"""What is pushed to tabs: the session that one looks at, or the list, as they change.

A tab says over its websocket what it shows: ``{"watch": ID}``, ``{"list": {...}}`` or ``{"executors": true}``. It is
sent the whole first, then what has changed, at most ten times a second however fast a run is. A tab that reads slowly
is waited for alone; one that comes back asks again, and gets the whole again: nothing is kept for it here.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..client.many import is_group
from ..errors import AsyncBlockError
from ..page.state import SESSION
from .cursors import Following, Followings
from .sources import ListedPage, Query, Sources
from .told import in_words, listed, listed_group, node_row, nodes_of, said, summary

__all__ = ["Lists", "Tab", "query_of"]

_PACE: Final = 0.1
"""Seconds between what is sent to a tab of a session."""

_GATHER: Final = 0.01
"""Seconds that the first change after a pause waits for others, so that they are sent together."""

_LOOK: Final = 1.0
"""Seconds between looks at the list, and at whether the mainframe is there: it doesn't announce new sessions."""

_UNFOLDED: Final = 20
"""Groups that one tab may have unfolded."""

_LATEST: Final = 1 << 52
"""ms since the epoch; no session begins later."""

_MEMBERS: Final = 2_000
"""Sessions of one of them that it may show."""


def query_of(given: Any) -> Query:
    """Return the query that a tab has sent, without what isn't valid."""
    given = given if isinstance(given, dict) else {}

    def number(name: str, least: int, most: int, default: int) -> int:
        try:
            return min(max(int(given[name]), least), most)
        except (KeyError, TypeError, ValueError):
            return default

    before = given.get("before")
    place = None
    if isinstance(before, list) and len(before) == 2 and isinstance(before[0], int) and isinstance(before[1], str):
        place = (min(max(before[0], 0), _LATEST), before[1])
    state, text = given.get("state"), given.get("text")
    groups = given.get("unfolded") if isinstance(given.get("unfolded"), dict) else {}
    unfolded = [(name, count) for name, count in groups.items() if is_group(name) and isinstance(count, int)]
    return Query(
        state if isinstance(state, str) else "",
        text[:200] if isinstance(text, str) else "",
        number("since", 0, _LATEST, 0),
        place,
        number("limit", 1, 500, 100),
        tuple((name, min(max(count, 1), _MEMBERS)) for name, count in unfolded[:_UNFOLDED]),
    )


class Lists:
    """Lists of sessions. If several tabs show the same list, it is fetched once."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._found: dict[Query, tuple[float, asyncio.Task[ListedPage]]] = {}

    async def get(self, query: Query) -> ListedPage:
        """Return a list that is no older than the time between two looks. Raises as ``Sources.sessions``."""
        now = time.monotonic()
        self._found = {
            each: (t, task) for each, (t, task) in self._found.items() if now - t < _LOOK * 0.9 or not task.done()
        }
        there = self._found.get(query)
        if there is None:
            there = self._found[query] = (now, asyncio.create_task(self._sources.sessions(query)))
        # Others may wait for it, too.
        return await asyncio.shield(there[1])

    def told(self, found: ListedPage, query: Query) -> dict[str, Any]:
        """Return a list for tabs; of groups that are unfolded with those of their sessions that fit, in order."""
        members: dict[str, Any] = {}
        for name, count in query.unfolded:
            if (group := found.groups.get(name)) is not None:
                fitting = [each for each in group.members if query.finds(each)]
                members[name] = {"sessions": [listed(each) for each in fitting[:count]], "count": len(fitting)}
        return {
            "sessions": [listed(each) for each in found.sessions],
            "more": found.more,
            "last": found.last,
            "groups": {name: listed_group(group.info) for name, group in found.groups.items()},
            "members": members,
            "may_cancel": self._sources.may_cancel and self._sources.mainframe is not None,
            "may_start": self._sources.startable is not None,
        }


class Tab:
    """One tab. Its tasks end with its websocket."""

    def __init__(self, websocket: WebSocket, sources: Sources, followings: Followings, lists: Lists) -> None:
        self._websocket = websocket
        self._sources = sources
        self._followings = followings
        self._lists = lists

    async def serve(self) -> None:
        """Push what the tab asks for until it leaves."""
        await self._websocket.accept()
        showing: asyncio.Task[None] | None = None
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                if (text := message.get("text")) is None:
                    # No tab of ours sends bytes.
                    await self._websocket.close(1003)
                    break
                if showing is not None:
                    showing.cancel()
                    await asyncio.wait([showing])
                showing = asyncio.create_task(self._show(text))
        except (WebSocketDisconnect, RuntimeError):
            # The tab has gone: Starlette raises a RuntimeError when the websocket is closed already.
            pass
        finally:
            if showing is not None:
                showing.cancel()
                await asyncio.wait([showing])
                if not showing.cancelled():
                    showing.exception()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(said(message).decode())

    async def _show(self, text: str) -> None:
        try:
            wanted = orjson.loads(text)
        except ValueError:
            return
        if not isinstance(wanted, dict):
            return
        try:
            if isinstance(wanted.get("watch"), str):
                async with self._followings.watching(wanted["watch"]) as following:
                    await self._session(following)
            elif "list" in wanted:
                await self._list(query_of(wanted["list"]))
            elif "executors" in wanted:
                await self._executors()
        except (WebSocketDisconnect, RuntimeError):
            # It has gone while something was sent.
            pass

    async def _list(self, query: Query) -> None:
        before: dict[str, Any] | None = None
        while True:
            try:
                if self._sources.away and before is not None:
                    message: dict[str, Any] = {"type": "link", "away": True, "address": self._sources.address}
                else:
                    message = {"type": "list", **self._lists.told(await self._lists.get(query), query), "away": False}
            except AsyncBlockError as error:
                message = {"type": "error", "error": in_words(error)}
            if message != before:
                await self._send(message)
                before = message
            await asyncio.sleep(_LOOK)

    async def _executors(self) -> None:
        before: dict[str, Any] | None = None
        while True:
            try:
                if self._sources.away and before is not None:
                    message: dict[str, Any] = {"type": "link", "away": True, "address": self._sources.address}
                else:
                    message = {"type": "executors", **await self._sources.executors(), "away": False}
            except AsyncBlockError as error:
                message = {"type": "error", "error": in_words(error)}
            if message != before:
                await self._send(message)
                before = message
            await asyncio.sleep(_LOOK)

    async def _session(self, following: Following) -> None:
        seen, away, sent = -1, None, 0.0
        while True:
            change = following.next_change()
            now_away = following.watched is not None and following.watched.away() and not following.ended
            if following.error is not None:
                await self._send({"type": "error", "id": following.session_id, "error": following.error})
                return
            if following.version != seen or now_away != away:
                message = _delta(following, seen)
                seen, away = following.version, now_away
                await self._send({**message, "away": now_away})
                sent = time.monotonic()
            try:
                async with asyncio.timeout(_LOOK):
                    await change.wait()
            except TimeoutError:
                following.forget(change)
                await following.look()
            else:
                # The first change after a pause is sent almost at once; those that follow closely share a message.
                await asyncio.sleep(max(sent + _PACE - time.monotonic(), _GATHER))


def _delta(following: Following, seen: int) -> dict[str, Any]:
    state = following.state
    whole = seen < following.begun
    if whole:
        nodes = nodes_of(state)
    else:
        nodes = [
            node_row(state.nodes[path], state.over)
            for path, version in following.changed.items()
            if version > seen and path != SESSION
        ]
    return {
        "type": "session",
        "id": following.session_id,
        "whole": whole,
        "session": {**summary(state, following.word), "id": following.session_id},
        "nodes": nodes,
        "may_cancel": following.may_cancel,
        "may_start": following.watched is not None and following.watched.again is not None,
        "may_retry": following.may_retry,
        "may_resume": following.may_resume,
    }
