"""The pure machine: subflows, slots, blocks that blocks ask for, progress; each rule and each bug by its name."""

from __future__ import annotations

from typing import Any

import pytest

from asyncblock.flow.entries import (
    BlockRequested,
    ConditionDecided,
    Decision,
    Finished,
    FlowJobFinished,
    FlowJobOutput,
    FlowJobProgress,
    FlowJobStarted,
    JobCreated,
    Output,
    Progressed,
    RunFinished,
    SessionBegun,
    Weighed,
)
from asyncblock.flow.plan import FlowPlan, Plan
from asyncblock.flow.run import MAX_DEPTH, Run

from .plans import flow, node, plan

INNER = flow(
    node("one", x=".x"), node("two", y="one.o"), inputs=("x",), outputs={"o": "two.o", "early": "one.o"}, path="inner"
)


def kinds(decisions: list[Decision]) -> list[str]:
    return [type(each).__name__ for each in decisions]


def one(decisions: list[Decision], kind: type[Any]) -> Any:
    [found] = [each for each in decisions if isinstance(each, kind)]
    return found


def outer(*, concurrency: int = 1, inner: FlowPlan = INNER) -> Run:
    made = plan(
        node("a"),
        node("sub", kind="subflow", flow="inner", concurrency=concurrency, x="a.o"),
        node("end", concurrency=-1, x="sub.o"),
        outputs={"o": "sub.o"},
        flows={"inner": inner},
    )
    return Run(made, "s")


def test_each_run_of_a_subflow_is_a_flow_of_its_own_with_fresh_queues() -> None:
    run = outer(concurrency=2)
    run.feed(SessionBegun())
    first = run.feed(Output("s.0", "o", "v1"))
    second = run.feed(Output("s.0", "o", "v2"))
    assert kinds(first) == kinds(second) == ["FlowJobStarted", "JobCreated"]
    assert [one(each, JobCreated).inputs for each in (first, second)] == [{"x": "v1"}, {"x": "v2"}]
    ids = [one(each, FlowJobStarted).job_id for each in (first, second)]
    assert len(set(ids)) == 2
    # The second flow's value meets nothing of the first's.
    made = run.feed(Output(one(second, JobCreated).job_id, "o", "w2"))
    assert one(made, JobCreated).inputs == {"y": "w2"}
    assert one(made, JobCreated).stacks[-1]["flow_job_id"] == ids[1]


def test_stacks_carry_every_level() -> None:
    run = outer()
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", "v"))
    started, job = one(made, FlowJobStarted), one(made, JobCreated)
    assert started.stacks == [{"flow_job_id": "s", "flow": None, "node_id": "sub"}]
    assert job.stacks == [*started.stacks, {"flow_job_id": started.job_id, "flow": "inner", "node_id": "one"}]
    assert job.flow == "inner"


def test_outputs_stream_to_the_parent_as_they_are_produced() -> None:
    run = outer()
    run.feed(SessionBegun())
    job = one(run.feed(Output("s.0", "o", "v")), JobCreated)
    two = one(run.feed(Output(job.job_id, "o", "w")), JobCreated)
    assert run.consumers(two.job_id, "o")
    assert not run.consumers(two.job_id, "other")
    made = run.feed(Output(two.job_id, "o", "streamed"))
    assert one(made, JobCreated).node_id == "end"
    assert one(made, JobCreated).inputs == {"x": "streamed"}


def test_a_subflow_ends_when_nothing_runs_in_it_and_then_its_node_runs_again() -> None:
    run = outer()
    run.feed(SessionBegun())
    job = one(run.feed(Output("s.0", "o", "v1")), JobCreated)
    assert run.feed(Output("s.0", "o", "v2")) == []
    made = run.feed(Finished(job.job_id))
    assert kinds(made) == ["FlowJobProgress", "FlowJobFinished", "FlowJobStarted", "JobCreated"]
    assert one(made, JobCreated).inputs == {"x": "v2"}
    assert not run.is_open(one(made, FlowJobFinished).job_id)


def test_a_failing_job_ends_its_subflow_and_the_flows_around_it_with_the_original_words() -> None:
    run = outer()
    run.feed(SessionBegun())
    job = one(run.feed(Output("s.0", "o", "v")), JobCreated)
    made = run.feed(Finished(job.job_id, "boom"))
    assert kinds(made) == ["FlowJobFinished", "RunFinished"]
    assert one(made, FlowJobFinished).error == "node one: boom"
    assert one(made, RunFinished).error == "node sub: node one: boom"


def test_e2_an_empty_subflow_frees_its_node() -> None:
    """Upstream, a subflow that returns no handle never leaves its node, which then never runs again."""
    run = outer(inner=flow(inputs=("x",)))
    run.feed(SessionBegun())
    for value in ("v1", "v2"):
        assert kinds(run.feed(Output("s.0", "o", value))) == ["FlowJobStarted", "FlowJobFinished"]


def test_e5_recursion_ends_at_the_depth_limit_and_the_session_fails() -> None:
    """Upstream, the depth limit is only reported; the session succeeds."""
    loop = flow(node("again", kind="subflow", flow="loop"), node("twice", kind="subflow", flow="loop"))
    run = Run(plan(node("n", kind="subflow", flow="loop"), flows={"loop": loop}), "s")
    made = run.feed(SessionBegun())
    assert kinds(made).count("FlowJobStarted") == MAX_DEPTH + 1
    end = one(made, RunFinished)
    assert end.state == "failed"
    assert end.error.startswith("node n: node again: node again")
    assert f"more than {MAX_DEPTH} levels deep" in end.error


def test_recursion_that_ends_is_fine() -> None:
    down = flow(
        node("if", kind="condition", x=".x"),
        node("less", y="if.more"),
        node("again", kind="subflow", flow="down", x="less.o"),
        inputs=("x",),
        outputs={"o": "if.done", "p": "again.o"},
    )
    run = Run(plan(node("n", kind="subflow", flow="down", x=3), outputs={"o": "n.o"}, flows={"down": down}), "s")
    made = run.feed(SessionBegun())
    for level in range(3):
        made = run.feed(ConditionDecided(one(made, JobCreated).job_id, "more", level))
        made = run.feed(Finished(one(made, JobCreated).job_id, None, {"o": level}))
    made = run.feed(ConditionDecided(one(made, JobCreated).job_id, "done", "bottom"))
    assert kinds(made).count("FlowJobFinished") == 4
    assert one(made, RunFinished).state == "succeeded"


# ---------------------------------------------------------------------- slots


def with_slot(provider: Any, **inputs: Any) -> Run:
    each = flow(
        node("split", x=".x"),
        node("slot", kind="slot", concurrency=-1, item="split.o"),
        inputs=("x",),
        outputs={"o": "slot.o"},
    )
    slots = {} if provider is None else {"slot": provider}
    made = plan(
        node("a"),
        node("map", kind="subflow", flow="each", x=1, slots=slots, remembered=inputs),
        node("end", concurrency=-1, x="map.o"),
        flows={"each": each, "per item": flow(node("t", v=".item", by=".by"), inputs=("item", "by"),
                                               outputs={"o": "t.o"})},
    )  # fmt: skip
    return Run(made, "s")


def test_a_slot_runs_what_the_subflow_node_provides() -> None:
    run = with_slot(node("slot"))
    split = next(each for each in run.feed(SessionBegun()) if isinstance(each, JobCreated) and each.node_id == "split")
    made = one(run.feed(Output(split.job_id, "o", "i1")), JobCreated)
    assert (made.kind, made.node_id, made.inputs) == ("task", "slot", {"item": "i1"})
    assert made.spec == ["slot", None, "map", "slot"]
    after = run.feed(Output(made.job_id, "o", "r1"))
    assert one(after, JobCreated).inputs == {"x": "r1"}


def test_a_slotflow_keeps_its_further_inputs_for_every_run() -> None:
    run = with_slot(node("slot", kind="subflow", flow="per item"), **{"slot::by": "a.o"})
    made = run.feed(SessionBegun())
    assert [each.node_id for each in made if isinstance(each, (JobCreated, FlowJobStarted))] == ["a"]
    split = one(run.feed(Output("s.0", "o", "by 3")), JobCreated)
    for item in ("i1", "i2", "i3"):
        made = run.feed(Output(split.job_id, "o", item))
        assert one(made, JobCreated).inputs == {"v": item, "by": "by 3"}
        assert one(made, JobCreated).stacks[-2]["node_id"] == "slot"
        assert len(one(made, JobCreated).stacks) == 3


def test_e5_a_slot_without_provider_fails_with_its_name() -> None:
    """Upstream, an unprovided slot is only reported; the session succeeds."""
    run = with_slot(None)
    split = next(each for each in run.feed(SessionBegun()) if isinstance(each, JobCreated) and each.node_id == "split")
    made = run.feed(Output(split.job_id, "o", "i1"))
    assert "nothing provides for its slot 'slot'" in one(made, RunFinished).error


# ---------------------------------------------------------------------- blocks that blocks ask for


def asking() -> Run:
    made = plan(
        node("a"),
        node("b", x="a.o"),
        outputs={"o": "a.o"},
        flows={"inner": INNER},
        catalog={
            "p::task": node("task"),
            "p::inner": node("inner", kind="subflow", flow="inner"),
            "p::bad": node("bad", kind="condition"),
        },
    )
    made.catalog["p::bad"].block["refused"] = "nodejs can't be run here"  # type: ignore[index]
    run = Run(made, "s")
    run.feed(SessionBegun())
    return run


def test_a_block_that_a_job_asks_for_has_the_callers_stacks_and_a_level_more() -> None:
    run = asking()
    job = one(run.feed(BlockRequested("s.0", "asked", "p::task", "self::task", {"x": "ref"})), JobCreated)
    assert (job.job_id, job.caller, job.spec, job.inputs) == ("asked", "s.0", ["catalog", "p::task"], {"x": "ref"})
    assert [level["node_id"] for level in job.stacks] == ["a", "run_block::self::task"]
    assert not run.consumers("asked", "o")


def test_the_flow_waits_for_what_was_asked_for() -> None:
    run = asking()
    run.feed(BlockRequested("s.0", "asked", "p::task", "self::task"))
    assert run.feed(Finished("s.0")) == []
    assert kinds(run.feed(Finished("asked"))) == ["RunFinished"]


def test_e1_an_asked_for_job_that_fails_is_removed_and_fails_no_flow() -> None:
    """Upstream, a run_block job that fails is never removed: the flow never finishes."""
    run = asking()
    run.feed(BlockRequested("s.0", "asked", "p::task", "self::task"))
    assert run.feed(Finished("asked", "broken")) == []
    assert run.open_jobs == 1
    assert one(run.feed(Finished("s.0")), RunFinished).state == "succeeded"


def test_a_subflow_that_a_job_asks_for_tells_its_outputs_and_its_error_to_nobody_else() -> None:
    run = asking()
    made = run.feed(BlockRequested("s.0", "asked", "p::inner", "self::inner", {"x": "v"}))
    assert kinds(made) == ["FlowJobStarted", "JobCreated"]
    inner = one(made, JobCreated)
    assert [level["node_id"] for level in inner.stacks] == ["a", "run_block::self::inner", "one"]
    assert one(run.feed(Output(inner.job_id, "o", "w")), FlowJobOutput) == FlowJobOutput("asked", "early", "w")
    assert run.feed(Finished(inner.job_id, "boom")) == [
        FlowJobFinished("asked", "run_block::self::inner", "node one: boom")
    ]
    assert run.open_jobs == 1
    assert one(run.feed(Finished("s.0")), RunFinished).state == "succeeded"


def test_a_block_that_cannot_run_is_refused_with_the_reason() -> None:
    run = asking()
    made = run.feed(BlockRequested("s.0", "asked", "p::bad", "self::bad"))
    assert one(made, FlowJobFinished).error == "nodejs can't be run here"
    assert run.open_jobs == 1


def test_repeated_and_late_requests_change_nothing() -> None:
    run = asking()
    asked = BlockRequested("s.0", "asked", "p::task", "self::task")
    assert len(run.feed(asked)) == 1
    assert run.feed(asked) == []
    assert run.feed(BlockRequested("s.0", "other", "p::unknown", "self::unknown")) == []
    run.feed(Finished("s.0"))
    assert run.feed(BlockRequested("s.0", "late", "p::task", "self::task")) == []


def test_blocks_that_ask_for_each_other_for_ever_end_at_the_depth_limit() -> None:
    run = asking()
    caller, made = "s.0", []
    for level in range(MAX_DEPTH):
        made = run.feed(BlockRequested(caller, f"asked{level}", "p::task", "self::task"))
        caller = f"asked{level}"
    assert "levels deep" in one(made, FlowJobFinished).error


# ---------------------------------------------------------------------- ends from outside, progress


def test_e7_a_subflow_can_be_ended_from_outside() -> None:
    """Upstream, ``timeout`` is ignored for everything but tasks."""
    run = outer()
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", "v"))
    ended = run.feed(Finished(one(made, FlowJobStarted).job_id, "Timeout"))
    assert kinds(ended) == ["FlowJobFinished", "RunFinished"]
    assert one(ended, RunFinished).error == "node sub: Timeout"
    assert run.feed(Output(one(made, JobCreated).job_id, "o", "late")) == []


def test_the_progress_of_a_subflow_is_the_weighted_mean() -> None:
    inner = flow(
        node("one", x=".x", weight=3.0), node("two", y="one.o"), node("if", kind="condition", weight=0.0, z="two.o"),
        inputs=("x",),
    )  # fmt: skip
    run = outer(inner=inner)
    run.feed(SessionBegun())
    job = one(run.feed(Output("s.0", "o", "v")), JobCreated)
    assert one(run.feed(Progressed(job.job_id, 50)), FlowJobProgress).rate == 37
    assert run.feed(Progressed(job.job_id, 40)) == []
    made = run.feed(Finished(job.job_id, None, {"o": 1}))
    assert one(made, FlowJobProgress).rate == 75
    two = one(made, JobCreated)
    assert one(run.feed(Weighed(two.job_id, "two", 0.0)), FlowJobProgress).rate == 95
    assert [each for each in run.feed(Finished(two.job_id)) if isinstance(each, FlowJobProgress)] == []


def test_progress_goes_up_through_every_level_and_the_root_tells_none() -> None:
    middle = flow(node("deep", kind="subflow", flow="inner", x=".x"), inputs=("x",))
    made = plan(node("sub", kind="subflow", flow="middle", x=1), flows={"middle": middle, "inner": INNER})
    run = Run(made, "s")
    job = one(run.feed(SessionBegun()), JobCreated)
    told = [each for each in run.feed(Progressed(job.job_id, 50)) if isinstance(each, FlowJobProgress)]
    assert [(each.node_id, each.rate) for each in told] == [("deep", 25), ("sub", 25)]


# ---------------------------------------------------------------------- cost, and plans as JSON


def test_many_runs_of_a_subflow_and_large_subflows_cost_time_in_proportion() -> None:
    run = outer()
    run.feed(SessionBegun())
    for i in range(20_000):
        run.feed(Output("s.0", "o", i))
    job_id = "s.2"
    for _ in range(20_000 - 1):
        made = run.feed(Finished(job_id))
        job_id = one(made, JobCreated).job_id
    chain = [node("n0", x=".x")] + [node(f"n{i}", x=f"n{i - 1}.o") for i in range(1, 5_000)]
    run = outer(inner=flow(*chain, inputs=("x",)))
    run.feed(SessionBegun())
    made = run.feed(Output("s.0", "o", 1))
    for i in range(5_000):
        made = run.feed(Finished(f"s.{i + 2}", None, {"o": i}))
    assert kinds(made) == ["FlowJobFinished"]


def test_a_nested_plan_survives_json() -> None:
    made = plan(
        node("sub", kind="subflow", flow="inner", x=1, timeout=2.5, weight=0.5, slots={"s": node("s")},
             remembered={"s::k": 1}),
        flows={"inner": flow(node("s", kind="slot", x=".x"), inputs=("x",), scope="p", forward_previews=("s",))},
        catalog={"p::t": node("t"), "p::inner": node("inner", kind="subflow", flow="inner")},
        packages={"p": {"q": "q-1.0"}},
    )  # fmt: skip
    assert Plan.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("reference", "key"),
    [("self::t", "p::t"), ("t", "p::t"), ("q::u", "q-1.0::u"), ("u", "q-1.0::u"), ("../../blocks/t", "p::t"),
     ("self::none", None), ("none::t", None), ("../elsewhere", None)],
)  # fmt: skip
def test_a_reference_is_looked_up_in_the_catalog_from_the_flow_that_makes_it(reference: str, key: str | None) -> None:
    entry = node("t")
    entry.block["path"] = "/pkg/blocks/t/block.oo.yaml"  # type: ignore[index]
    inner = flow(scope="p", path="/pkg/subflows/x/subflow.oo.yaml")
    made = plan(
        node("a"), flows={"x": inner}, catalog={"p::t": entry, "q-1.0::u": node("u")}, packages={"p": {"q": "q-1.0"}}
    )
    assert made.find("x", reference) == key
