"""The state of a session as a fold over its events: any order, any beginning, kept and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock import events
from asyncblock.page import State, StateLimits
from asyncblock.page import state as state_of
from asyncblock.page.jobviews import ENDED
from asyncblock.page.views import Axis, critical_path, feeds_of, lanes, nodes_in_order, totals

from ..flows import handle_def, node, run_flow, write_flow

FEW = StateLimits(head=2, tail=2, lines=9, line=5, jobs=3, failures=2, previews=4, payloads=60)

_JOBS = st.sampled_from(["j1", "j2", "j3", "j4"])
_NODES = st.sampled_from(["a", "b", "<b>&"])


def _event(
    kind: type[events.Event], **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[type[events.Event], dict[str, Any]]]:
    return st.tuples(st.just(kind), st.fixed_dictionaries(fields))


def _of_job(kind: type[events.BlockEvent], **fields: st.SearchStrategy[Any]) -> Any:
    return _event(kind, job_id=_JOBS, node_id=_NODES, attempt=st.integers(1, 3), **fields)


_TEXT = st.text(max_size=8)
_STACKS = st.sampled_from([(), ({"node_id": "a"},), ({"node_id": "s"}, {"node_id": "in"})])
_EVENTS = st.one_of(
    _event(events.SessionStarted, title=_TEXT, path=st.none(), nodes=st.just(("a", "b"))),
    _event(events.SessionCancelled, reason=_TEXT),
    _event(events.JournalBroken, epoch=_TEXT, reason=_TEXT),
    _event(events.SessionFinished, state=st.sampled_from(["succeeded", "failed"]), error=st.none() | _TEXT, outputs=st.just({"x": 1})),
    _event(events.Other, name=st.sampled_from(["ConditionDecided", "RunFinished"]), fields=st.fixed_dictionaries({"job_id": _JOBS, "handle": st.none() | _TEXT})),
    _of_job(events.JobCreated, stacks=_STACKS),
    _of_job(events.FlowJobStarted, stacks=_STACKS),
    _of_job(events.FlowJobFinished, error=st.none() | _TEXT),
    _of_job(events.JobAssigned, link=st.sampled_from(["l1", "l2"])),
    _of_job(events.JobReleased, reason=_TEXT),
    _of_job(events.JobWaiting, version=_TEXT, reason=_TEXT),
    _of_job(events.JobRetrying, error=_TEXT, pause=st.floats(0, 9), at=st.integers(0, 200)),
    _of_job(events.JobFailed, error=_TEXT),
    _of_job(events.JobStalled, seconds=st.floats(0, 9), where=_TEXT),
    _of_job(events.VersionAccepted, version=_TEXT, instead=st.lists(_TEXT, max_size=2)),
    _of_job(events.BlockStarted),
    _of_job(events.BlockOutput, handle=_TEXT, output=st.integers(-9, 9)),
    _of_job(events.BlockOutputs, outputs=st.dictionaries(_TEXT, st.integers(-9, 9), max_size=2)),
    _of_job(events.BlockProgress, rate=st.floats(0, 100)),
    _of_job(events.BlockLog, log=_TEXT, stdio=st.sampled_from(["stdout", "stderr"])),
    _of_job(events.BlockLogJSON, json=st.integers(-9, 9)),
    _of_job(events.BlockMessage, payload=st.integers(-9, 9)),
    _of_job(events.BlockWarning, warning=_TEXT),
    _of_job(events.BlockCache, state=st.sampled_from(["hit", "miss"]), why=_TEXT),
    _of_job(events.BlockError, error=_TEXT),
    _of_job(events.BlockPreview, payload=st.just({"type": "text", "data": "…"}), id=st.none() | st.sampled_from(["p", "q"])),
    _of_job(events.BlockFinished, error=st.none() | _TEXT, cancelled=st.booleans(), traceback=st.none() | _TEXT),
    _of_job(events.LateRecords, link=_TEXT, records=st.just([{}])),
)  # fmt: skip


@st.composite
def journals(draw: st.DrawFn) -> list[events.Event]:
    """Events of any kind in any order, several of them in a row of the journal; clocks go any way."""
    made: list[events.Event] = []
    offset = 0
    for (kind, fields), step in draw(st.lists(st.tuples(_EVENTS, st.integers(0, 2)), max_size=25)):
        offset += step
        made.append(kind(session_id="s", offset=offset, t=draw(st.integers(0, 200)), **fields))
    return made


def test_every_event_but_those_of_the_mainframes_own_is_taken() -> None:
    taken = set(state_of._TAKERS)
    left = {each.type for each in get_args(events.AnyEvent)} - taken
    assert left == {"FlowJobOutput", "BlockJobFinished"}, (
        "say in page/said.py or page/state.py what the page makes of it"
    )


@given(journals(), st.integers(0, 40), st.sampled_from([None, FEW]))
def test_a_prefix_that_is_kept_and_gone_on_with_is_the_whole(
    found: list[events.Event], cut: int, limits: StateLimits | None
) -> None:
    feeds = {"a": (), "b": ("a",), "s/in": ("a", "b")}
    whole = State(limits, feeds).fold(found)
    kept = State(limits, feeds).fold(found[:cut]).snapshot()
    state = State.restore(kept, limits, feeds)
    assert state.snapshot() == kept
    offset = state.read_on()
    state.fold(each for each in found if each.offset >= offset)
    assert state.snapshot() == whole.snapshot()


@given(journals(), st.integers(0, 40))
def test_events_that_come_twice_count_once(found: list[events.Event], cut: int) -> None:
    state = State().fold(found[:cut])
    state.read_on()
    state.fold(found[:cut] and [each for each in found[:cut] if each.offset >= state.offset])
    assert state.snapshot() == State().fold(found[:cut]).snapshot()


@given(journals(), st.sampled_from([None, FEW]))
def test_counts_agree_and_views_hold_whatever_the_order(found: list[events.Event], limits: StateLimits | None) -> None:
    state = State(limits).fold(found)
    for each in state.nodes.values():
        if limits is None:
            assert each.jobs == sum(each.open.values()) + sum(each.ended.values())
            assert set(each.rates) == {
                job.job_id for job in state.jobs.values() if job.node == each.path and job.state not in ENDED
            }
        assert 0 <= each.progress <= 100
        assert all(ms >= 0 for ms in each.spent.values())
    assert len(state.log.nodes) <= len(state.nodes) + 1
    if limits is not None:
        assert state.log.kept <= 9 and len(state.gallery.previews) <= 4 and len(state.failures) <= 2
    assert state.gallery.dropped + len(state.gallery.previews) == state.counted.get("BlockPreview", 0)
    rows, left_out = lanes(state, state.now, 5)
    assert sum(len(each.bars) for each in rows) + left_out == sum(
        len(job.attempts) for job in state.jobs.values() if job.kind == "block"
    )
    for row in rows:
        assert all(a.end <= b.begin for a, b in zip(row.bars, row.bars[1:], strict=False))
    assert len(set(critical_path(state))) == len(critical_path(state))
    assert min(totals(state, state.now).values()) >= 0
    assert {each.path for each in nodes_in_order(state)} == {path for path in state.nodes if path}


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), max_size=8))
def test_the_axis_keeps_the_order_of_times_and_draws_idle_stretches_short(found: list[tuple[int, int]]) -> None:
    axis = Axis(0, 1000, [(a, min(a + length, 1000)) for a, length in found])
    places = [axis.place(t) for t in range(0, 1001, 7)]
    assert places == sorted(places) and places[0] == 0 and axis.place(1000) == pytest.approx(1)
    for a, b in axis.breaks:
        assert axis.place(b) - axis.place(a) <= (b - a) / 1000 + 1e-9
    assert len(axis.ticks(8)) <= 8 + 2 * len(axis.breaks) + 1


async def test_phases_attempts_and_the_critical_path_of_a_real_run(tmp_path: Path) -> None:
    first = """
    tries = []
    async def main(inputs, ctx):
        tries.append(1)
        print("try", len(tries))
        if len(tries) == 1:
            raise ValueError("not yet")
        await ctx.preview({"type": "text", "data": "one"}, id="p")
        await ctx.flush()
        await ctx.preview({"type": "text", "data": "two"}, id="p")
        await ctx.output(1, "out")
    """
    second = (
        "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.sleep(0.05)\n    return {'out': inputs['n']}\n"
    )
    quick = "async def main(inputs, ctx):\n    return {'out': 0}\n"
    tried = node("first", first, tmp_path)
    tried["task"]["retries"] = {"retries": 1, "backoff": 0.05}
    path = write_flow(
        tmp_path,
        [
            tried,
            node("second", second, tmp_path, inputs=[handle_def("n")], inputs_from=[{"handle": "n", "from_node": [{"node_id": "first", "output_handle": "out"}]}]),
            node("quick", quick, tmp_path),
        ],
        outputs_from=[{"handle": "out", "from_node": [{"node_id": "second", "output_handle": "out"}]}],
    )  # fmt: skip
    from asyncblock.client import resolve_flow

    feeds = feeds_of(resolve_flow(path, None, ()))
    assert feeds == {"first": (), "second": ("first",), "quick": ()}
    found = await run_flow(path, capture=True)
    state = State(feeds=feeds).fold(found)
    assert (state.state, state.outputs, state.over) == ("succeeded", {"out": 1}, True)
    assert [each.path for each in nodes_in_order(state)] == ["first", "second", "quick"]
    [job] = [each for each in state.jobs.values() if each.node == "first"]
    assert [phase for phase, _, _ in job.spans(state.now)].count("pause") == 1 and len(job.attempts) == 2
    assert state.nodes["first"].spent["pause"] > 0 and state.nodes["second"].spent["work"] >= 40
    assert [state.jobs[each].node for each in critical_path(state)] == ["first", "second"]
    [failure] = state.failures
    assert failure.retried and "ValueError: not yet" in failure.error and "first.py" in (failure.traceback or "")
    shown = [(each.payload["data"], each.superseded) for each in state.gallery.previews]
    assert shown[-1] == ("two", False) and all(superseded for _, superseded in shown[:-1])
    assert [each.text for each in state.log.nodes["first"]] == ["try 1", "try 2"]
    assert state.nodes["quick"].handles == {"out": 1}


def test_lines_beyond_the_limits_are_counted_and_both_ends_stay() -> None:
    lines = [
        events.BlockLog(session_id="s", offset=i, t=i, job_id="j", node_id="n", log=f"line {i}", stdio="stdout")
        for i in range(10)
    ]
    state = State(StateLimits(head=2, tail=3, line=6)).fold(lines)
    kept = state.log.nodes["n"]
    assert [each.text for each in kept] == ["line 0", "line 1", "line 7", "line 8", "line 9"]
    assert (kept.count, kept.missing) == (10, 5)
    long = events.BlockLog(
        session_id="s", offset=10, t=10, job_id="j", node_id="n", log="x" * 1_000_000, stdio="stdout"
    )
    state.take(long)
    assert [(len(each.text), each.cut) for each in kept][-1] == (6, 999_994)
