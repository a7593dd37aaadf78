"""The pure machine: tables of flows, and properties over any order of events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncblock.flow.entries import (
    BlockRequested,
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    Finished,
    FlowJobFinished,
    FlowJobStarted,
    JobCreated,
    Output,
    Progressed,
    RunFinished,
    SessionBegun,
    decision_from_json,
)
from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source
from asyncblock.flow.run import Run

from .plans import flow, node, plan


def jobs(decisions: list[Decision]) -> list[tuple[str, dict[str, Any]]]:
    return [(d.node_id, d.inputs) for d in decisions if isinstance(d, JobCreated)]


def ids(decisions: list[Decision]) -> list[str]:
    return [d.job_id for d in decisions if isinstance(d, JobCreated)]


def test_nodes_that_nothing_feeds_run_once_at_the_start() -> None:
    run = Run(plan(node("a"), node("b", k=5)), "s")
    assert jobs(run.feed(SessionBegun())) == [("a", {}), ("b", {"k": ["static", "b", "k"]})]
    assert jobs(run.feed(Finished("s.0"))) == []


def test_inputs_are_paired_first_in_first_out_and_not_latched() -> None:
    run = Run(plan(node("a"), node("b"), node("sum", concurrency=9, x="a.o", y="b.o")), "s")
    run.feed(SessionBegun())
    assert jobs(run.feed(Output("s.0", "o", "x1"))) == []
    assert jobs(run.feed(Output("s.0", "o", "x2"))) == []
    assert jobs(run.feed(Output("s.1", "o", "y1"))) == [("sum", {"x": "x1", "y": "y1"})]
    assert jobs(run.feed(Output("s.1", "o", "y2"))) == [("sum", {"x": "x2", "y": "y2"})]
    assert jobs(run.feed(Output("s.1", "o", "y3"))) == []


def test_static_values_are_the_same_each_time() -> None:
    run = Run(plan(node("a"), node("b", concurrency=-1, x="a.o", k=1)), "s")
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", 1)) + run.feed(Output("s.0", "o", 2))
    assert [inputs["k"] for _, inputs in jobs(made)] == [["static", "b", "k"]] * 2


@pytest.mark.parametrize(("concurrency", "at_once"), [(1, 1), (3, 3), (-1, 5), (0, 0)])
def test_concurrency_bounds_the_jobs_of_a_node(concurrency: int, at_once: int) -> None:
    run = Run(plan(node("a"), node("b", concurrency=concurrency, x="a.o")), "s")
    run.feed(SessionBegun())
    made = [each for i in range(5) for each in run.feed(Output("s.0", "o", i))]
    assert len(made) == at_once
    after = run.feed(Finished(ids(made)[0])) if made else []
    assert len(ids(after)) == (1 if concurrency in (1, 3) else 0)


def test_several_sources_merge_into_one_queue() -> None:
    run = Run(plan(node("a"), node("b"), node("c", concurrency=9, x=["a.o", "b.o"])), "s")
    run.feed(SessionBegun())
    made = run.feed(Output("s.1", "o", "from b")) + run.feed(Output("s.0", "o", "from a"))
    assert [inputs["x"] for _, inputs in jobs(made)] == ["from b", "from a"]


def test_flow_inputs_feed_their_handles() -> None:
    run = Run(plan(node("a", x=".path"), inputs=("path",)), "s")
    assert jobs(run.feed(SessionBegun())) == [("a", {"x": ["input", "path"]})]


def test_the_result_of_a_finish_is_produced_like_outputs() -> None:
    run = Run(plan(node("a"), node("b", x="a.o"), outputs={"end": "b.p"}), "s")
    run.feed(SessionBegun())
    assert jobs(run.feed(Finished("s.0", None, {"o": 1}))) == [("b", {"x": 1})]
    assert run.feed(Finished("s.1", None, {"p": 2})) == [RunFinished("succeeded", None, {"end": 2})]


def test_a_run_is_over_when_no_job_is_left_whatever_waits() -> None:
    run = Run(plan(node("a"), node("b"), node("c", x="a.o", y="b.o")), "s")
    run.feed(SessionBegun())
    run.feed(Output("s.0", "o", 1))
    run.feed(Finished("s.0"))
    assert run.feed(Finished("s.1")) == [RunFinished("succeeded", None, {})]
    assert run.finished
    assert run.feed(Finished("s.1")) == []


def test_a_cycle_feeds_itself() -> None:
    run = Run(plan(node("seed"), node("loop", x=["seed.o", "loop.o"])), "s")
    run.feed(SessionBegun())
    assert len(ids(run.feed(Finished("s.0", None, {"o": 0})))) == 1
    for i in range(1, 5):
        assert ids(run.feed(Finished(f"s.{i}", None, {"o": i}))) == [f"s.{i + 1}"]
    assert run.feed(Finished("s.5")) == [RunFinished("succeeded", None, {})]


def test_an_error_ends_the_run_at_once_and_late_facts_change_nothing() -> None:
    run = Run(plan(node("a"), node("b"), outputs={"out": "b.o"}), "s")
    run.feed(SessionBegun())
    assert run.feed(Finished("s.0", "broken")) == [RunFinished("failed", "node a: broken", {})]
    assert run.feed(Output("s.1", "o", 1)) == []
    assert run.feed(Finished("s.1")) == []


def test_a_cancel_ends_the_run() -> None:
    run = Run(plan(node("a")), "s")
    run.feed(SessionBegun())
    assert run.feed(Cancelled("enough")) == [RunFinished("cancelled", "cancelled: enough", {})]


def test_facts_about_unknown_jobs_change_nothing() -> None:
    run = Run(plan(node("a"), node("b", x="a.o")), "s")
    run.feed(SessionBegun())
    assert run.feed(Output("s.99", "o", 1)) == []
    assert run.feed(Finished("s.99", "broken")) == []


def test_e2_a_condition_without_match_frees_its_node() -> None:
    """Upstream, a condition for which no case holds never leaves its node, which then never runs again."""
    run = Run(plan(node("a"), node("if", kind="condition", x="a.o"), node("b", y="if.yes")), "s")
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", "v1"))
    run.feed(Output("s.0", "o", "v2"))
    after = run.feed(ConditionDecided(ids(made)[0], None))
    assert jobs(after) == [("if", {"x": "v2"})]
    assert jobs(run.feed(ConditionDecided(ids(after)[0], "yes", "v2"))) == [("b", {"y": "v2"})]


def test_directed_output_takes_only_the_connections_that_are_meant() -> None:
    nodes = (node("a"), node("b", x="a.o"), node("c", x="a.o"))
    run = Run(plan(*nodes, outputs={"out": "a.o"}), "s")
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", 1, [{"node_id": "c", "input_handle": "x"}], None))
    assert jobs(made) == [("c", {"x": 1})]
    assert run.feed(Output("s.0", "o", 2, None, [{"output_handle": "out"}])) == []
    assert run.feed(Finished("s.1")) == []
    assert run.feed(Finished("s.0")) == [RunFinished("succeeded", None, {"out": 2})]


def test_consumers_tells_who_takes_a_handle() -> None:
    run = Run(plan(node("a"), node("b", x="a.o"), outputs={"out": "b.p"}), "s")
    run.feed(SessionBegun())
    assert run.consumers("s.0", "o")
    assert not run.consumers("s.0", "nobody")
    assert not run.consumers("s.9", "o")


def test_large_flows_and_long_queues_cost_time_in_proportion() -> None:
    chain = [node("n0")] + [node(f"n{i}", x=f"n{i - 1}.o") for i in range(1, 10_000)]
    run = Run(plan(*chain), "s")
    made = run.feed(SessionBegun())
    for i in range(10_000):
        made = run.feed(Finished(f"s.{i}", None, {"o": i}))
    assert made == [RunFinished("succeeded", None, {})]
    run = Run(plan(node("a"), node("b", x="a.o")), "s")
    run.feed(SessionBegun())
    for i in range(100_000):
        run.feed(Output("s.0", "o", i))
    for i in range(1, 100_000):
        assert len(run.feed(Finished(f"s.{i}"))) == 1


# ------------------------------------------------------------------ any order, any crash

FLOW = plan(
    node("a"),
    node("b"),
    node("double", concurrency=2, x="a.o"),
    node("pair", x="double.o", y="b.o"),
    node("sum", concurrency=-1, p="pair.o", q=["double.o", "b.o"]),
    outputs={"end": "sum.o"},
)
PROVIDED = node("mark", kind="subflow", flow="mark")
NESTED = plan(
    node("a"),
    node("b"),
    node("each", kind="subflow", flow="each", concurrency=2, x="a.o", slots={"slot": PROVIDED},
         remembered={"slot::by": "b.o"}),
    node("if", kind="condition", weight=0.0, x="each.o"),
    node("last", concurrency=-1, x=["if.yes", "if.no"]),
    outputs={"end": "last.o"},
    flows={
        "each": flow(
            node("first", x=".x"),
            node("slot", kind="slot", concurrency=2, x="first.o"),
            inputs=("x",),
            outputs={"o": "slot.o"},
        ),
        "mark": flow(node("m", x=".x", by=".by"), inputs=("x", "by"), outputs={"o": "m.o"}),
    },
    catalog={"p::task": node("task"), "p::mark": node("mark", kind="subflow", flow="mark")},
)  # fmt: skip


def behave(job: JobCreated) -> list[Any]:
    """What a job puts out: a function of its inputs only, so that the flow is deterministic."""
    if job.node_id in ("a", "b"):
        return [f"{job.node_id}{i}" for i in range(4)]
    return ["+".join(str(value) for value in job.inputs.values())]


def facts_of(job: JobCreated) -> list[Fact]:
    """Everything that a job says until its end; ``last`` asks for blocks meanwhile."""
    if job.kind == "condition":
        value = job.inputs["x"]
        return [ConditionDecided(job.job_id, "yes" if "1" in str(value) else None, value)]
    facts: list[Fact] = [Output(job.job_id, "o", value) for value in behave(job)]
    if job.node_id == "last":
        asked = f"{job.job_id}-task", f"{job.job_id}-mark"
        facts += [
            BlockRequested(job.job_id, asked[0], "p::task", "self::task"),
            BlockRequested(job.job_id, asked[1], "p::mark", "self::mark", {"x": "asked", "by": "for"}),
        ]
    facts.append(Progressed(job.job_id, 50))
    error = "broken on purpose" if job.node_id == "run_block::self::task" else None
    return [*facts, Finished(job.job_id, error)]


def drive(run: Run, choose: Callable[[list[Fact]], int]) -> tuple[list[Fact | Decision], list[JobCreated]]:
    """Run a flow, delivering what jobs say in an order that somebody chooses; each job's own order is kept."""
    entries: list[Fact | Decision] = []
    created: list[JobCreated] = []
    queues: list[list[Fact]] = [[SessionBegun()]]
    while queues:
        heads = [queue[0] for queue in queues]
        queue = queues[choose(heads)]
        fact = queue.pop(0)
        if not queue:
            queues.remove(queue)
        decisions = run.feed(fact)
        entries += [fact, *decisions]
        for decision in decisions:
            if isinstance(decision, JobCreated):
                created.append(decision)
                queues.append(facts_of(decision))
    return entries, created


def shape(created: list[JobCreated]) -> Counter[str]:
    return Counter(job.node_id for job in created)


def through_json(entry: Fact | Decision) -> Fact | Decision:
    if isinstance(entry, Decision):
        return decision_from_json(orjson.loads(orjson.dumps(entry.to_json())))
    return entry


def followers(rest: list[Fact | Decision]) -> list[tuple[Fact, list[Fact | Decision]]]:
    """Return each fact with the decisions that followed it."""
    found: list[tuple[Fact, list[Fact | Decision]]] = []
    for entry in rest:
        if isinstance(entry, Fact):
            found.append((entry, []))
        else:
            found[-1][1].append(entry)
    return found


@pytest.mark.parametrize("flow_plan", [FLOW, NESTED], ids=["flat", "nested"])
@settings(deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_any_order_of_events_makes_the_same_jobs(flow_plan: Plan, rng: random.Random) -> None:
    _, straight = drive(Run(flow_plan, "s"), lambda heads: 0)
    entries, created = drive(Run(flow_plan, "s"), lambda heads: rng.randrange(len(heads)))
    if flow_plan is NESTED:
        # Which values meet in a pair depends on the order; what comes of each node doesn't.
        assert {**shape(created), "last": 0, "m": 0} == {**shape(straight), "last": 0, "m": 0}
    else:
        assert shape(created) == shape(straight)
        doubled = Counter(str(job.inputs) for job in created if job.node_id == "double")
        assert doubled == Counter(str(job.inputs) for job in straight if job.node_id == "double")
    assert isinstance(entries[-1], RunFinished)
    assert entries[-1].state == "succeeded"
    assert [type(entry) for entry in entries].count(RunFinished) == 1
    assert len({job.job_id for job in created}) == len(created)
    assert Counter(each.job_id for each in entries if isinstance(each, FlowJobStarted)) == Counter(
        each.job_id for each in entries if isinstance(each, FlowJobFinished)
    )


@pytest.mark.parametrize("flow_plan", [FLOW, NESTED], ids=["flat", "nested"])
@settings(deadline=None)
@given(rng=st.randoms(use_true_random=False), at=st.integers(0, 200))
def test_a_replayed_run_goes_on_as_the_live_one_did(flow_plan: Plan, rng: random.Random, at: int) -> None:
    entries, _ = drive(Run(flow_plan, "s"), lambda heads: rng.randrange(len(heads)))
    # A crash comes between two turns of the mainframe: a fact and its decisions are one row.
    cut = min(at, len(entries))
    while cut < len(entries) and isinstance(entries[cut], Decision):
        cut += 1
    run = Run(flow_plan, "s")
    for entry in entries[:cut]:
        run.replay(through_json(entry))
    assert run.settle() == []
    for fact, decisions in followers(entries[cut:]):
        assert run.feed(fact) == decisions
    assert run.finished


@pytest.mark.parametrize("flow_plan", [FLOW, NESTED], ids=["flat", "nested"])
@settings(deadline=None)
@given(rng=st.randoms(use_true_random=False), at=st.integers(0, 200))
def test_a_run_restored_from_a_snapshot_goes_on_as_the_live_one_did(
    flow_plan: Plan, rng: random.Random, at: int
) -> None:
    entries, _ = drive(Run(flow_plan, "s"), lambda heads: rng.randrange(len(heads)))
    turns = followers(entries)
    run = Run(flow_plan, "s")
    for fact, _ in turns[:at]:
        run.feed(fact)
    snapshot = orjson.dumps(run.to_snapshot())
    restored = Run.from_snapshot(flow_plan, "s", orjson.loads(snapshot))
    assert orjson.dumps(restored.to_snapshot()) == snapshot
    assert restored.settle() == []
    for fact, decisions in turns[at:]:
        assert restored.feed(fact) == decisions
    assert restored.finished
    assert restored.open_jobs == 0


@pytest.mark.parametrize("flow_plan", [FLOW, NESTED], ids=["flat", "nested"])
@settings(deadline=None)
@given(rng=st.randoms(use_true_random=False), at=st.integers(1, 60))
def test_nothing_starts_after_the_end(flow_plan: Plan, rng: random.Random, at: int) -> None:
    entries, _ = drive(Run(flow_plan, "s"), lambda heads: rng.randrange(len(heads)))
    turns = followers(entries)
    run = Run(flow_plan, "s")
    for fact, _ in turns[:at]:
        run.feed(fact)
    if not run.finished:
        assert [type(each) for each in run.feed(Cancelled("enough"))] == [RunFinished]
    for fact, _ in turns[at:]:
        assert run.feed(fact) == []


def _taker(*, static: bool) -> NodePlan:
    declared = InputPlan((), True, 1) if static else InputPlan((Source("a", "o"),))
    return NodePlan("t", "task", {}, {"x": declared, "more": InputPlan((Source("b", "o"),), optional=True)}, 9)


@pytest.mark.parametrize("restored", [False, True])
def test_an_input_that_is_not_declared_is_taken_when_it_is_there_and_waited_for_by_nobody(restored: bool) -> None:
    made = Plan("", None, (*plan(node("a"), node("b")).nodes, _taker(static=False)))
    run = Run(made, "s")
    run.feed(SessionBegun())
    assert jobs(run.feed(Output("s.0", "o", "x1"))) == [("t", {"x": "x1"})]
    assert jobs(run.feed(Output("s.1", "o", "m1"))) == []
    assert jobs(run.feed(Output("s.1", "o", "m2"))) == []
    if restored:
        run = Run.from_snapshot(made, "s", orjson.loads(orjson.dumps(run.to_snapshot())))
        assert run.settle() == []
    assert jobs(run.feed(Output("s.0", "o", "x2"))) == [("t", {"x": "x2", "more": "m1"})]
    assert jobs(run.feed(Output("s.0", "o", "x3"))) == [("t", {"x": "x3", "more": "m2"})]
    assert jobs(run.feed(Output("s.0", "o", "x4"))) == [("t", {"x": "x4"})]


def test_a_node_of_static_inputs_runs_again_for_each_value_that_it_does_not_declare() -> None:
    run = Run(Plan("", None, (*plan(node("b")).nodes, _taker(static=True))), "s")
    assert jobs(run.feed(SessionBegun())) == [("b", {}), ("t", {"x": ["static", "t", "x"]})]
    assert jobs(run.feed(Output("s.0", "o", "m1"))) == [("t", {"x": ["static", "t", "x"], "more": "m1"})]
    assert jobs(run.feed(Finished("s.1"))) == []


def test_an_undeclared_input_survives_the_plans_json() -> None:
    made = Plan("", None, (*plan(node("a"), node("b")).nodes, _taker(static=False)))
    assert made.to_json()["nodes"][2]["inputs"]["more"] == {"sources": [["b", "o"]], "optional": True}


_ACTS = st.lists(st.one_of(st.integers(1, 30), st.sampled_from(["settle", "finish"])), max_size=20)


@given(
    concurrencies=st.lists(st.sampled_from([-1, 0, 1, 3]), min_size=1, max_size=3), acts=_ACTS, budget=st.integers(1, 6)
)
def test_outputs_that_are_queued_at_once_lead_to_the_same_as_one_by_one(
    concurrencies: list[int], acts: list[Any], budget: int
) -> None:
    nodes = [node(f"c{place}", concurrency=each, x="a.o") for place, each in enumerate(concurrencies)]
    singly, together = (Run(plan(node("a"), *nodes), "s") for _ in range(2))
    assert singly.feed(SessionBegun()) == together.feed(SessionBegun())
    open_jobs: list[str] = []
    queued = False
    for offset, act in enumerate([*acts, *["settle", "finish"] * 200]):
        if act == "settle":
            ours, theirs = singly.settle(budget), together.settle(budget)
        elif act == "finish":
            if not open_jobs:
                continue
            fact = Finished(open_jobs.pop(0))
            ours, theirs = singly.feed(fact, budget), together.feed(fact, budget)
        else:
            refs = [("record", offset, 0, index, "o") for index in range(act)]
            ours, theirs = [], []
            for ref in refs:
                ours += singly.feed(Output("s.0", "o", ref), budget - len(ours))
            for index, ref in enumerate(refs):
                if together.queue("s.0", "o", ref, act - index, 3, budget - len(theirs)):
                    queued = True
                    break
                theirs += together.feed(Output("s.0", "o", ref), budget - len(theirs))
        assert ours == theirs
        assert singly.unsettled == together.unsettled
        open_jobs += ids(ours)
    if 0 in concurrencies and set(concurrencies) == {0} and any(isinstance(act, int) for act in acts):
        assert queued


def test_outputs_for_nobody_and_for_the_flows_output_are_not_queued_at_once() -> None:
    run = Run(plan(node("a"), node("b", concurrency=0, x="a.o"), outputs={"r": "a.o"}), "s")
    run.feed(SessionBegun())
    assert not run.queue("s.0", "nobody", ("record", 1, 0, 0, "nobody"), 5, 3, 9)
    assert not run.queue("s.0", "o", ("record", 1, 0, 0, "o"), 5, 3, 9)
    assert not run.queue("unknown", "o", ("record", 1, 0, 0, "o"), 5, 3, 9)


def test_a_block_isnt_run_whose_caller_ended_before_there_was_room_for_it() -> None:
    asking = plan(node("a"), node("asks", concurrency=-1, x="a.o"), catalog={"p::task": node("task")})
    run, replayed = Run(asking, "s"), Run(asking, "s")
    entries: list[Fact | Decision] = []

    def feed(fact: Fact, jobs: int | None = None) -> list[Decision]:
        decisions = run.feed(fact, jobs)
        entries.extend((fact, *decisions))
        return decisions

    feed(SessionBegun())
    callers = [each for value in ("v", "w") for each in ids(feed(Output("s.0", "o", value)))]
    for caller in callers:
        assert feed(BlockRequested(caller, f"{caller}-1", "p::task", "x", {"x": "v"}), 0) == []
    assert feed(Finished(callers[0]), 0) == []
    made = run.settle(10)
    assert ids(made) == [f"{callers[1]}-1"]
    entries += made
    for entry in entries:
        replayed.replay(through_json(entry))
    assert replayed.to_snapshot() == run.to_snapshot()
    assert replayed.settle() == []
