"""Golden sessions, replayed: against a real mainframe, and against the real client and executor of their stories."""

from __future__ import annotations

import pytest

from asyncblock.testing.golden import STORIES, against_lower_end, against_mainframe, stored_sessions

SESSIONS = stored_sessions()


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_a_mainframe_answers_as_the_recorded_one_did(story: str) -> None:
    await against_mainframe(story, SESSIONS[story])


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_a_client_and_an_executor_say_what_the_recorded_ones_did(story: str) -> None:
    await against_lower_end(story, SESSIONS[story])


@pytest.mark.parametrize("end", [against_mainframe, against_lower_end])
async def test_a_replay_sees_what_is_said_otherwise(end: object) -> None:
    entries = stored_sessions()["run"]
    for entry in entries:
        entry.message = entry.message.replace(b'"output":2', b'"output":7').replace(b'"b":3', b'"b":8')
    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True):
        await end("run", entries)  # type: ignore[operator]
