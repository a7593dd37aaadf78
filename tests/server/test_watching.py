"""What a mainframe tells whoever watches it: real sessions, and a watch that only writes down what it hears."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncblock
from asyncblock.server.settings import Settings
from asyncblock.server.watching import Measurement, WatchedSession

from ..flows import node, one_block, write_flow


class Heard:
    """Writes down what it hears of all sessions, with what is left open."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, ...]] = []
        self.open: set[str] = set()

    def starting(self, session_id: str, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
        return {**metadata, "watched": True}

    def session(self, session: WatchedSession) -> Heard:
        self.lines.append(("session", session.plan.title))
        return self

    def measured(self, measure: Callable[[], Measurement]) -> None:
        measure()

    def job_began(
        self,
        job_id: str,
        name: str,
        node_id: str,
        parent: tuple[str, int],
        inputs: Mapping[str, Any],
        since: int | None,
    ) -> None:
        self.open.add(job_id)
        self.lines.append(("began", node_id))

    def put_out(self, place: tuple[int, int], job_id: str, attempt: int) -> None:
        assert job_id in self.open

    def took(self, job_id: str, attempt: int, records: Sequence[Mapping[str, Any]]) -> None:
        assert job_id in self.open
        self.lines += [("said", record["log"]) for record in records if record["type"] == "BlockLog"]

    def attempt_over(
        self, job_id: str, attempt: int, seconds: float | None, link: str, outcome: str, error: str | None
    ) -> None:
        assert job_id in self.open
        assert seconds is not None
        self.lines.append(("attempt", str(attempt), outcome))

    def job_over(self, job_id: str, error: str | None, *, told: bool) -> None:
        assert not told
        self.open.discard(job_id)
        self.lines.append(("over",) if error is None else ("over", error))

    def session_over(self, state: str, error: str | None) -> None:
        self.lines.append(("session over", state))


async def heard_of(path: Path, tmp_path: Path) -> Heard:
    heard = Heard()
    async with asyncblock.embedded(tmp_path / "data", settings=Settings(watch=heard)) as mainframe:
        session = await mainframe.start(path)
        await session.wait()
        started = [event async for event in session][:1]
        assert isinstance(started[0], asyncblock.events.SessionStarted)
        assert started[0].metadata == {"watched": True}
    assert heard.open == set()
    return heard


async def test_a_session_is_told_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    heard = await heard_of(one_block(tmp_path / "f", "async def main(inputs, ctx):\n  return {'out': 1}\n"), tmp_path)
    assert heard.lines[1:] == [
        ("began", "n"),
        ("attempt", "1", "succeeded"),
        ("over",),
        ("session over", "succeeded"),
    ]


async def test_what_a_block_says_is_told(tmp_path: Path) -> None:
    source = (
        "async def main(inputs, ctx):\n  ctx.logger.warning('one')\n  ctx.logger.warning('two')\n  return {'out': 1}\n"
    )
    heard = await heard_of(one_block(tmp_path / "f", source), tmp_path)
    assert [line for line in heard.lines if line[0] == "said"] == [
        ("said", "WARNING one"),
        ("said", "WARNING two"),
    ]


async def test_each_attempt_and_each_error_is_told(tmp_path: Path) -> None:
    block = node("n", "async def main(inputs, ctx):\n  raise ValueError('no')\n", tmp_path / "f")
    block["task"]["retries"] = {"retries": 1, "backoff": 0}
    heard = await heard_of(write_flow(tmp_path / "f", [block]), tmp_path)
    assert [line[0] for line in heard.lines[1:]] == ["began", "attempt", "attempt", "over", "session over"]
    assert heard.lines[2:4] == [("attempt", "1", "failed"), ("attempt", "2", "failed")]
    assert "no" in heard.lines[4][1]
    assert heard.lines[-1] == ("session over", "failed")
