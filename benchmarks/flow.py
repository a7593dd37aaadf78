"""Flow: the pure run machine alone, long queues in it, and a flow of 10,000 nodes from its start to its end.

``steps``: transitions a second of the machine, in a chain of nodes; each fact (an output, an end) and each decision
(a job) is one. ``queued``: facts a second while one node's queue grows to a million values that nobody has taken.
``growth``: time for the last tenth of those values divided by that of the first; 1 is no growth. ``unconsumed``:
outputs a second on a handle that nobody takes, by the machine's own question; they are counted and not stepped. These
are of one thread that waits for nothing, in seconds of CPU. ``nodes``: nodes a second of a flow of 10,000 no-op nodes
(100 chains of 100), executor and mainframe in two processes, the journal on disk, loading not included; ``load``:
nodes a second of reading that flow from YAML. There is no rival of the same shape.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from asyncblock import Executor, Flow, block
from asyncblock.flow import load_flow
from asyncblock.flow.entries import Finished, JobCreated, Output, SessionBegun
from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source
from asyncblock.flow.run import Run

from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "end_to_end", "machine", "measure"]

MUST = {"steps": ">= 100,000/s", "queued": ">= 100,000/s"}


@block(inputs=[{"handle": "a"}], outputs=[{"handle": "out"}])
async def step(inputs: dict[str, Any]) -> dict[str, Any]:
    """Hand on."""
    return {"out": inputs["a"]}


def _chain(length: int) -> Plan:
    nodes = [NodePlan("n0", "task", {})]
    for number in range(1, length):
        source = InputPlan((Source(f"n{number - 1}", "o"),))
        nodes.append(NodePlan(f"n{number}", "task", {}, {"x": source}))
    return Plan("chain", None, tuple(nodes))


def machine(steps: int, queued: int) -> dict[str, float]:
    """Measure the pure machine."""
    grown, growth = _queue(queued)
    return {"steps": _steps(steps), "queued": grown, "growth": growth, "unconsumed": _unconsumed(steps)}


def _steps(count: int) -> float:
    """Each job puts out a value and ends: two facts, and the decision for the next node's job."""
    plan = _chain(1000)
    done, began = 0, time.process_time()
    while done < count:
        run = Run(plan, "s")
        made = run.feed(SessionBegun())
        while made and isinstance(job := made[0], JobCreated):
            made = run.feed(Output(job.job_id, "o", ("record", 1, 2, 3, "o")))
            run.feed(Finished(job.job_id))
            done += 3
    return done / (time.process_time() - began)


def _queue(count: int) -> tuple[float, float]:
    run = Run(_chain(2), "s")
    run.feed(SessionBegun())
    tenth = count // 10
    laps = []
    for lap in range(10):
        began = time.process_time()
        for number in range(lap * tenth, (lap + 1) * tenth):
            run.feed(Output("s.0", "o", ("record", number, 0, 0, "o")))
        laps.append(time.process_time() - began)
    return 10 * tenth / sum(laps), laps[-1] / laps[0]


def _unconsumed(count: int) -> float:
    run = Run(_chain(2), "s")
    run.feed(SessionBegun())
    counted, began = 0, time.process_time()
    for _ in range(count):
        counted += not run.consumers("s.0", "nobody")
    assert counted == count
    return count / (time.process_time() - began)


async def end_to_end(chains: int, length: int) -> dict[str, float]:
    """Run a flow of many nodes, and read it from YAML."""
    flow = Flow("nodes")
    for _ in range(chains):
        node = flow.node(step, {"a": 0})
        for _ in range(length - 1):
            node = flow.node(step, {"a": node["out"]})
    count = chains * length
    plan = flow.plan()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "flow.oo.yaml")
        path.write_text(flow.to_yaml())
        began = time.perf_counter()
        load_flow(path)
        loaded = time.perf_counter() - began
    async with open_plant() as (_, mainframe):
        async with Executor(blocks=[step]).attached(mainframe):
            began = time.perf_counter()
            await (await mainframe.start(plan)).outputs()
            return {"nodes": count / (time.perf_counter() - began), "load": count / loaded}


def _sizes(quick: bool) -> tuple[int, int, int, int]:
    return (100_000, 100_000, 10, 20) if quick else (400_000, 1_000_000, 100, 100)


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    sizes = _sizes(quick)
    pure = Subject("machine", "benchmarks.flow:machine", {"steps": sizes[0], "queued": sizes[1]})
    whole = Subject("flow", "benchmarks.flow:end_to_end", {"chains": sizes[2], "length": sizes[3]})
    return [
        Case("steps", pure, "steps", "steps/s"),
        Case("queued", pure, "queued", "values/s"),
        Case("growth", pure, "growth", "times"),
        Case("unconsumed", pure, "unconsumed", "outputs/s"),
        Case("nodes", whole, "nodes", "nodes/s"),
        Case("load", whole, "load", "nodes/s"),
    ]


def measure(quick: bool) -> Result:
    """Measure all cases."""
    sizes, ours = _sizes(quick), cases(quick)
    found = measure_in_turns([ours[0].subject, ours[-1].subject], 1 if quick else 3)
    figures = {case.name: found.figures[case.subject.name][case.figure] for case in ours}
    conditions = {
        "queued_values": sizes[1],
        "nodes": sizes[2] * sizes[3],
        "peak MB of the largest process": found.peaks,
    }
    units = f"({', '.join(case.unit for case in ours)})"
    return Result("flow", units, figures, must=MUST, conditions=conditions)
