"""Spans of real sessions: parents, links and ids, held with OpenTelemetry's own exporter in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import asyncblock
from asyncblock.client import Mainframe
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.telemetry.exporting import Telemetry
from asyncblock.telemetry.traces import attempt_span, job_span, session_span

from ..flows import node, one_block, write_flow
from ..waits import until_called
from .receiving import collector

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorded:
    """A mainframe with telemetry, and its spans once it has ended."""

    def __init__(self, mainframe: Mainframe, memory: InMemorySpanExporter) -> None:
        self.mainframe = mainframe
        self._memory = memory

    async def made(self, span_id: str) -> None:
        """Wait until a span is there."""
        await until_called(self._memory, "export", lambda: span_id in self.spans(), 250)

    def spans(self) -> dict[str, ReadableSpan]:
        """Return the spans by their ids."""
        found = [each for each in self._memory.get_finished_spans() if each.context is not None]
        made = {f"{each.context.span_id:016x}": each for each in found if each.context}
        assert len(made) == len(found), "each span is made once"
        return made


@asynccontextmanager
async def recorded(
    directory: Path, memory: InMemorySpanExporter | None = None, *others: SpanProcessor
) -> AsyncIterator[Recorded]:
    """Embed a mainframe; leaving delivers its spans."""
    memory = memory or InMemorySpanExporter()
    processors = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    for each in (SimpleSpanProcessor(memory), *others):
        processors.add_span_processor(each)
    telemetry = Telemetry(processors)
    async with asyncblock.embedded(directory, settings=Settings(watch=telemetry)) as mainframe:
        yield Recorded(mainframe, memory)
    await asyncio.to_thread(telemetry.close)


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def links_of(span: ReadableSpan) -> dict[str, object]:
    return {f"{each.context.span_id:016x}": (each.attributes or {}).get("asyncblock.inputs") for each in span.links}


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(f"asyncblock.{name}")


@pytest.mark.timeout(300)
async def test_a_thousand_jobs_have_the_right_parents_and_links_also_where_they_are_received(
    tmp_path: Path,
) -> None:
    count = 333
    many = node(
        "many", f"async def main(inputs, ctx):\n  for n in range({count}):\n    await ctx.output(n, 'out')\n", tmp_path
    )
    one = "async def main(inputs, ctx):\n  return {'out': inputs['n']}\n"
    from_many = [{"handle": "n", "from_node": [{"node_id": "many", "output_handle": "out"}]}]
    left = node("left", one, tmp_path, inputs=[{"handle": "n"}], inputs_from=from_many)
    right = node("right", one, tmp_path, inputs=[{"handle": "n"}], inputs_from=from_many)
    both = [{"handle": name, "from_node": [{"node_id": name, "output_handle": "out"}]} for name in ("left", "right")]
    last = "async def main(inputs, ctx):\n  return {'out': inputs['left'] + inputs['right']}\n"
    join = node("join", last, tmp_path, inputs=[{"handle": "left"}, {"handle": "right"}], inputs_from=both)
    path = write_flow(tmp_path, [many, left, right, join])
    with collector() as receiver:
        exporter = OTLPSpanExporter(endpoint=f"{receiver.endpoint}/v1/traces")
        batches = BatchSpanProcessor(exporter, max_queue_size=10_000)
        async with recorded(tmp_path / "data", None, batches) as there:
            session = await there.mainframe.start(path)
            await session.wait()
            session_id = session.session_id
            # Once the session's own span is there, all others have been made before it.
            await there.made(session_span(session_id))
            assert await asyncio.to_thread(batches.force_flush)
    spans = there.spans()
    assert len(spans) == 1 + 2 * (1 + 3 * count) > 2000
    received = {each.span_id.hex(): each for each in receiver.spans}
    assert len(received) == len(receiver.spans)
    assert received.keys() == spans.keys()
    for key, came in received.items():
        made = spans[key]
        assert came.name == made.name
        assert came.parent_span_id.hex() == (parent_of(made) or "")
        assert made.context is not None
        assert came.trace_id.hex() == f"{made.context.trace_id:032x}"
        assert (came.start_time_unix_nano, came.end_time_unix_nano) == (made.start_time, made.end_time)
        assert {link.span_id.hex() for link in came.links} == links_of(made).keys()
    root = spans[session_span(session_id)]
    assert (root.parent, attribute(root, "state")) == (None, "succeeded")
    jobs = {key: each for key, each in spans.items() if attribute(each, "job") and not attribute(each, "attempt")}
    attempts = {key: each for key, each in spans.items() if attribute(each, "attempt")}
    assert len(spans) == 1 + len(jobs) + len(attempts)
    assert Counter(each.name for each in jobs.values()) == {"many": 1, "left": count, "right": count, "join": count}
    assert {parent_of(each) for each in jobs.values()} == {session_span(session_id)}
    assert len({each.context.trace_id for each in spans.values() if each.context}) == 1
    for each in attempts.values():
        assert parent_of(each) == job_span(str(attribute(each, "job")))
        assert attribute(each, "outcome") == "succeeded"
        assert attribute(each, "executor")
    nodes = {key: str(attribute(each, "node")) for key, each in attempts.items()}
    sources: Counter[tuple[str, ...]] = Counter()
    for job in jobs.values():
        linked = links_of(job)
        sources[(job.name, *sorted(nodes[each] for each in linked))] += 1
        if job.name == "join":
            assert {nodes[source]: handles for source, handles in linked.items()} == {
                "left": ("left",),
                "right": ("right",),
            }
    assert sources == {
        ("many",): 1,
        ("left", "many"): count,
        ("right", "many"): count,
        ("join", "left", "right"): count,
    }
    # Each fan-in joins its own two.
    joined = [source for job in jobs.values() if job.name == "join" for source in links_of(job)]
    assert len(joined) == len(set(joined)) == 2 * count
    for each in spans.values():
        assert each.start_time is not None and each.end_time is not None
        assert each.start_time <= each.end_time


async def test_the_callers_context_reaches_blocks_and_what_they_begin(tmp_path: Path) -> None:
    source = """
    from opentelemetry import trace

    async def main(inputs, ctx):
        here = trace.get_current_span().get_span_context()
        return {"out": {"now": f"{here.span_id:016x}", "ctx": ctx.trace.span_id, "trace": ctx.trace.trace_id,
                        "parent": ctx.trace.headers["traceparent"], "state": ctx.trace.state}}
    """
    path = one_block(tmp_path / "f", source)
    async with recorded(tmp_path / "data") as there:
        session = await there.mainframe.start(path, metadata={"traceparent": CALLER, "tracestate": "other=1"})
        found = (await session.wait()).outputs["out"]
        started = [event async for event in session][:1]
    _, trace_id, caller, _ = CALLER.split("-")
    spans = there.spans()
    assert parent_of(spans[session_span(session.session_id)]) == caller
    assert {f"{each.context.trace_id:032x}" for each in spans.values() if each.context} == {trace_id}
    [attempt] = [key for key, each in spans.items() if attribute(each, "attempt")]
    assert found == {
        "now": attempt,
        "ctx": attempt,
        "trace": trace_id,
        "parent": f"00-{trace_id}-{attempt}-01",
        "state": f"asyncblock={caller},other=1",
    }
    assert isinstance(started[0], asyncblock.events.SessionStarted)
    assert started[0].metadata["traceparent"] == f"00-{trace_id}-{session_span(session.session_id)}-01"


async def test_a_sync_block_has_it_too(tmp_path: Path) -> None:
    source = """
    from opentelemetry import trace

    def main(inputs, ctx):
        here = trace.get_current_span().get_span_context()
        return {"out": [f"{here.span_id:016x}", ctx.trace.span_id]}
    """
    async with recorded(tmp_path / "data") as there:
        found = (await (await there.mainframe.start(one_block(tmp_path / "f", source))).wait()).outputs["out"]
    [attempt] = [key for key, each in there.spans().items() if attribute(each, "attempt")]
    assert found == [attempt, attempt]


async def test_a_starter_with_opentelemetry_is_the_parent_without_saying_so(tmp_path: Path) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n  return {'out': 1}\n")
    async with recorded(tmp_path / "data") as there:
        with tracer.start_as_current_span("request") as request:
            session = await there.mainframe.start(path)
        await session.wait()
    own = request.get_span_context()
    root = there.spans()[session_span(session.session_id)]
    assert root.parent is not None
    assert (root.parent.trace_id, root.parent.span_id) == (own.trace_id, own.span_id)


async def test_a_mainframe_without_telemetry_passes_the_callers_context_on(tmp_path: Path) -> None:
    source = "async def main(inputs, ctx):\n  return {'out': ctx.trace and ctx.trace.traceparent}\n"
    path = one_block(tmp_path / "f", source)
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        assert (await (await mainframe.start(path, metadata={"traceparent": CALLER})).wait()).outputs["out"] == CALLER
        assert (await (await mainframe.start(path)).wait()).outputs["out"] is None
        broken = {"traceparent": "00-4bf9-00f0-01"}
        assert (await (await mainframe.start(path, metadata=broken)).wait()).outputs["out"] is None


async def test_a_trace_that_isnt_sampled_makes_no_spans(tmp_path: Path) -> None:
    source = "async def main(inputs, ctx):\n  return {'out': ctx.trace.sampled}\n"
    async with recorded(tmp_path / "data") as there:
        metadata = {"traceparent": CALLER[:-1] + "0"}
        session = await there.mainframe.start(one_block(tmp_path / "f", source), metadata=metadata)
        assert (await session.wait()).outputs["out"] is False
    assert there.spans() == {}


async def test_each_attempt_has_its_span_and_the_error_stands_where_it_happened(tmp_path: Path) -> None:
    source = """
    async def main(inputs, ctx):
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return {"out": 1}
    """
    block = node("n", source, tmp_path / "f")
    block["task"]["retries"] = {"retries": 2, "backoff": 0}
    path = write_flow(tmp_path / "f", [block])
    async with recorded(tmp_path / "data") as there:
        await (await there.mainframe.start(path)).wait()
    spans = there.spans()
    tries = {attribute(each, "attempt"): each for each in spans.values() if attribute(each, "attempt")}
    assert {number: attribute(each, "outcome") for number, each in tries.items()} == {1: "failed", 2: "succeeded"}
    assert tries[1].status.status_code is api.StatusCode.ERROR
    assert "not yet" in str(tries[1].status.description)
    job_id = str(attribute(tries[1], "job"))
    assert {parent_of(each) for each in tries.values()} == {job_span(job_id)}
    assert attempt_span(job_id, 1) in spans
    assert spans[job_span(job_id)].status.status_code is api.StatusCode.UNSET


async def test_a_session_that_goes_on_after_a_restart_is_one_trace(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = "async def main(inputs, ctx):\n  return {'out': 1}\n"
    second = f"""
    import asyncio, pathlib

    async def main(inputs, ctx):
        if ctx.attempt == 1 and not pathlib.Path({str(gate)!r}).exists():
            pathlib.Path({str(gate)!r}).write_text("")
            await asyncio.Event().wait()
        return {{"out": ctx.trace.trace_id}}
    """
    one = node("one", first, tmp_path / "f")
    two = node(
        "two",
        second,
        tmp_path / "f",
        inputs=[{"handle": "n"}],
        inputs_from=[{"handle": "n", "from_node": [{"node_id": "one", "output_handle": "out"}]}],
    )
    two["task"]["retries"] = {"retries": 1, "backoff": 0}
    outputs = [{"handle": "out", "from_node": [{"node_id": "two", "output_handle": "out"}]}]
    path = write_flow(tmp_path / "f", [one, two], outputs_from=outputs)
    memory = InMemorySpanExporter()
    async with recorded(tmp_path / "data", memory) as there:
        session = await there.mainframe.start(path, metadata={"traceparent": CALLER})
        async for event in session:
            if isinstance(event, asyncblock.events.BlockStarted) and event.node_id == "two":
                break
    packages = [path.parent]
    telemetry = Telemetry(SimpleSpanProcessor(memory))
    async with asyncblock.embedded(
        tmp_path / "data", packages=packages, settings=Settings(watch=telemetry)
    ) as mainframe:
        outputs_made = (await mainframe.session(session.session_id).wait()).outputs
    await asyncio.to_thread(telemetry.close)
    _, trace_id, caller, _ = CALLER.split("-")
    assert outputs_made == {"out": trace_id}
    spans = there.spans()
    assert {f"{each.context.trace_id:032x}" for each in spans.values() if each.context} == {trace_id}
    assert parent_of(spans[session_span(session.session_id)]) == caller
    [two_job] = [each for each in spans.values() if each.name == "two"]
    [one_attempt] = [key for key, each in spans.items() if each.name == "one attempt 1"]
    assert links_of(two_job) == {one_attempt: ("n",)}
    assert {"two attempt 1", "two attempt 2"} <= {each.name for each in spans.values()}


def test_no_server_makes_spans_unless_it_is_told_to() -> None:
    assert MainframeServer(Path("nowhere")).settings.watch is None
