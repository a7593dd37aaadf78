"""Services: one ``main`` that stays, and many calls; when each begins and ends."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import asyncblock
from asyncblock import events
from asyncblock.blockcode.packages import package_hash
from asyncblock.client import Mainframe, Session
from asyncblock.errors import Rejected
from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source

from ..flows import all_of, end_of, until

pytestmark = pytest.mark.timeout(30)


class ServicePackage:
    """A package with one service, and flows that call it."""

    def __init__(self, root: Path, source: str, **executor: Any) -> None:
        self.root = root
        directory = root / "services" / "svc"
        directory.mkdir(parents=True)
        (root / "package.oo.yaml").write_text("name: pack\nversion: 1.0.0\n")
        (directory / "index.py").write_text(textwrap.dedent(source))
        self.executor = {"name": "python", "entry": "index.py", "function": "main", **executor}
        (directory / "service.oo.yaml").write_text(yaml.safe_dump({"executor": self.executor, "blocks": []}))
        self.digest = package_hash(root)

    def plan(self, *calls: str, x: object = 1, concurrency: int = 1) -> Plan:
        """A flow that calls blocks of the service one after the other."""
        nodes = []
        for index, name in enumerate(calls):
            source = InputPlan((Source(f"n{index - 1}", "out"),)) if index else InputPlan((), True, x)
            block = {
                "language": "python",
                "package": "pack",
                "hash": self.digest,
                "dir": "services/svc",
                "entry": "services/svc/index.py",
                "function": self.executor["function"],
                "service": {**self.executor, "block": name},
                "inputs_def": [{"handle": "x"}],
                "outputs_def": [{"handle": "out"}],
            }
            nodes.append(NodePlan(f"n{index}", "task", block, {"x": source}, concurrency, group="service"))
        outputs = {"o": (Source(f"n{len(calls) - 1}", "out"),)}
        return Plan("calls", None, tuple(nodes), (), outputs, roots={self.digest: self.root})


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


async def run(mainframe: Mainframe, plan: Plan) -> Sequence[events.Event]:
    return [event async for event in await mainframe.start(plan)]


COUNTING = """
    import asyncio
    from service_diary import write

    async def main(service):
        state = {"calls": 0}
        write("begins")

        async def add(inputs, ctx):
            state["calls"] += 1
            await ctx.output(inputs["x"] + state["calls"], "out")

        def add_sync(inputs, ctx):
            state["calls"] += 1
            ctx.output(inputs["x"] + state["calls"], "out")

        async def fail(inputs, ctx):
            raise ValueError("no such luck")

        async def stay():
            try:
                await asyncio.Event().wait()
            finally:
                write("ends")

        service.block_handler = {"add": add, "add_sync": add_sync, "fail": fail}
        service.task = asyncio.create_task(stay())
    """


class Diary(ModuleType):
    """What services of a test have written; they import it."""

    def __init__(self) -> None:
        super().__init__("service_diary")
        self.lines: list[str] = []
        self._changed = asyncio.Event()

    def write(self, line: str) -> None:
        self.lines.append(line)
        self._changed.set()

    async def until(self, *lines: str) -> None:
        """Wait until just this is written."""
        async with asyncio.timeout(10):
            while self.lines != list(lines):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(autouse=True)
async def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    made = Diary()
    monkeypatch.setitem(sys.modules, "service_diary", made)
    return made


async def test_b5_b6_several_calls_reach_the_one_running_service(
    tmp_path: Path, mainframe: Mainframe, diary: Diary
) -> None:
    """In the original the second call of a service never arrived, and no further block of that executor ran."""
    package = ServicePackage(tmp_path / "pack", COUNTING)
    end = end_of(await run(mainframe, package.plan("add", "add_sync", "add")))
    assert (end.state, end.outputs) == ("succeeded", {"o": 1 + 1 + 2 + 3})
    await diary.until("begins", "ends")


async def test_calls_run_side_by_side_on_one_service(tmp_path: Path, mainframe: Mainframe) -> None:
    source = """
        import asyncio
        async def main(service):
            both = asyncio.Barrier(2)
            async def meet(inputs, ctx):
                await both.wait()
                return {"out": True}
            service.block_handler = {"meet": meet}
        """
    package = ServicePackage(tmp_path / "pack", source)
    plan = package.plan("meet", "meet")
    nodes = tuple(
        NodePlan(n.node_id, n.kind, n.block, {"x": InputPlan((), True, 1)}, group=n.group) for n in plan.nodes
    )
    assert end_of(await run(mainframe, Plan("both", None, nodes, roots=plan.roots))).state == "succeeded"


@pytest.mark.parametrize("form", ["async def", "def"])
async def test_a_function_as_handler_gets_the_blocks_name(tmp_path: Path, mainframe: Mainframe, form: str) -> None:
    source = f"""
        def main(service):
            {form} handle(name, inputs, ctx):
                return {{"out": [name, inputs["x"], ctx.node_id]}}
            service["block_handler"] = handle
        """
    package = ServicePackage(tmp_path / "pack", source)
    assert end_of(await run(mainframe, package.plan("one", x="y"))).outputs == {"o": ["one", "y", "n0"]}


async def test_an_error_in_a_handler_fails_that_call_and_not_the_service(tmp_path: Path, mainframe: Mainframe) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING, stop_at="app_end")
    found = await run(mainframe, package.plan("add", "fail"))
    assert "ValueError: no such luck" in (end_of(found).error or "")
    [failed] = [e for e in all_of(found, events.BlockFinished) if e.error]
    assert "index.py" in (failed.traceback or "")
    assert end_of(await run(mainframe, package.plan("add", x=10))).outputs == {"o": 12}


async def test_an_unknown_block_names_those_that_there_are(tmp_path: Path, mainframe: Mainframe) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING)
    error = end_of(await run(mainframe, package.plan("ad"))).error or ""
    assert "service 'pack::svc' has no handler 'ad'; it has 'add', 'add_sync', 'fail'. Did you mean 'add'?" in error


@pytest.mark.parametrize("form", ["async def", "def"])
async def test_calls_wait_until_the_service_says_that_it_is_ready(
    tmp_path: Path, mainframe: Mainframe, form: str
) -> None:
    source = f"""
        import threading
        {form} main(service):
            service.waiting_ready_notify = True
            state = {{}}
            service.block_handler = {{"get": lambda inputs, ctx: {{"out": state["value"]}}}}
            def later():
                state["value"] = 7
                service.notify_ready()
            timer = threading.Timer(0.2, later)
            timer.start()
        """
    package = ServicePackage(tmp_path / "pack", source)
    assert end_of(await run(mainframe, package.plan("get"))).outputs == {"o": 7}


async def test_a_main_that_never_returns_serves_calls(tmp_path: Path, mainframe: Mainframe) -> None:
    source = """
        import asyncio
        async def main(service):
            service.block_handler = {"get": lambda inputs, ctx: {"out": 1}}
            await asyncio.Event().wait()
        """
    package = ServicePackage(tmp_path / "pack", source)
    assert end_of(await run(mainframe, package.plan("get"))).outputs == {"o": 1}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("async def main(service): raise OSError('no port')", "service 'pack::svc' failed: OSError: no port"),
        ("def main(service): raise OSError('no port')", "service 'pack::svc' failed: OSError: no port"),
        ("def main(service): raise SystemExit(3)", "service 'pack::svc' failed: SystemExit: 3"),
        ("raise ImportError('not here')", "service 'pack::svc' failed: ImportError: not here"),
        ("def main(service): pass", "main of service 'pack::svc' returned without setting service.block_handler"),
        ("def main(service): service.block_handler = 3", "block_handler is a dict of functions or a function"),
        ("def other(service): pass", "has no 'main'"),
    ],
)
async def test_a_service_that_fails_ends_its_calls_with_the_reason(
    tmp_path: Path, mainframe: Mainframe, source: str, words: str
) -> None:
    package = ServicePackage(tmp_path / "pack", source)
    for _ in range(2):
        assert words in (end_of(await run(mainframe, package.plan("get"))).error or "")


async def test_a_call_that_waits_for_its_service_can_be_cancelled(tmp_path: Path, mainframe: Mainframe) -> None:
    source = """
        def main(service):
            service.waiting_ready_notify = True
            service.block_handler = {}
        """
    package = ServicePackage(tmp_path / "pack", source)
    session = await mainframe.start(package.plan("get"))
    await until(session, events.JobAssigned)
    await session.cancel("enough")
    assert (await session.wait()).state == "cancelled"


async def finished(session: Session) -> events.SessionFinished:
    return end_of([event async for event in session])


@pytest.mark.parametrize("stop_at", ["app_end", "never", "Never"])
async def test_b7_a_service_that_outlives_sessions_serves_them_all(tmp_path: Path, stop_at: str, diary: Diary) -> None:
    """In the original such a service was never configured, and the block hung."""
    package = ServicePackage(tmp_path / "pack", COUNTING, stop_at=stop_at)
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        for calls in (1, 2, 3):
            assert end_of(await run(mainframe, package.plan("add", x=0))).outputs == {"o": calls}
        assert diary.lines == ["begins"]
    assert diary.lines == ["begins", "ends"]


async def test_b22_each_session_has_a_service_of_its_own(tmp_path: Path, mainframe: Mainframe, diary: Diary) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING)
    for _ in range(2):
        assert end_of(await run(mainframe, package.plan("add", x=0))).outputs == {"o": 1}
    await diary.until("begins", "ends", "begins", "ends")


async def test_b8_block_end_stops_a_service_when_no_call_came_for_a_while(
    tmp_path: Path, mainframe: Mainframe, diary: Diary
) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING, stop_at="block_end", keep_alive=0, start_at="app_start")
    assert end_of(await run(mainframe, package.plan("add", x=0))).outputs == {"o": 1}
    await diary.until("begins", "ends")
    assert end_of(await run(mainframe, package.plan("add", x=0))).outputs == {"o": 1}
    await diary.until("begins", "ends", "begins", "ends")


async def test_block_end_keeps_a_service_for_its_keep_alive(tmp_path: Path, mainframe: Mainframe, diary: Diary) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING, stop_at="block_end", keep_alive=30)
    assert end_of(await run(mainframe, package.plan("add", "add", x=0))).outputs == {"o": 3}
    await diary.until("begins", "ends")


async def test_app_start_begins_before_any_call(tmp_path: Path, diary: Diary) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING, start_at="app_start")
    async with asyncblock.embedded(tmp_path / "data", packages=[package.root]):
        await diary.until("begins")
    assert diary.lines == ["begins", "ends"]


async def test_session_start_begins_with_the_packages_first_job(
    tmp_path: Path, mainframe: Mainframe, diary: Diary
) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING, start_at="session_start")
    (package.root / "plain.py").write_text(
        "import service_diary\nasync def main(inputs, ctx): await service_diary.until('begins')\n"
    )
    package.digest = package_hash(package.root)
    block = {
        "language": "python",
        "package": "pack",
        "hash": package.digest,
        "dir": ".",
        "entry": "plain.py",
        "function": "main",
    }
    plan = Plan("plain", None, (NodePlan("n", "task", block, {}),), roots={package.digest: package.root})
    assert end_of(await run(mainframe, plan)).state == "succeeded"
    await diary.until("begins", "ends")


async def test_a_handler_may_leave_its_call_open(tmp_path: Path, mainframe: Mainframe) -> None:
    source = """
        import asyncio
        def main(service):
            async def later(ctx):
                await ctx.output(1, "out")
                await ctx.done()
            async def get(inputs, ctx):
                service.task = asyncio.create_task(later(ctx))
                return ctx.keepAlive
            service.block_handler = {"get": get}
        """
    package = ServicePackage(tmp_path / "pack", source, stop_at="block_end", keep_alive=0)
    assert end_of(await run(mainframe, package.plan("get", "get"))).outputs == {"o": 1}


async def test_a_client_may_say_something_to_a_running_service(tmp_path: Path, mainframe: Mainframe) -> None:
    source = """
        import asyncio
        from service_diary import write
        def main(service):
            heard = asyncio.Event()
            async def later(message):
                write(f"async {message['payload']['x']} {message['node_id']} {message['job_id']}")
                heard.set()
            def broken(message):
                raise ValueError("no")
            service.add_message_callback(broken)
            service.add_message_callback(lambda message: write(f"sync {message['payload']['x']}"))
            service.add_message_callback(later)
            async def wait(inputs, ctx):
                await ctx.report_log("here")
                await heard.wait()
                return {"out": "heard"}
            service.block_handler = {"wait": wait}
        """
    package = ServicePackage(tmp_path / "pack", source)
    session = await mainframe.start(package.plan("wait"))
    log = await until(session, events.BlockLog)
    assert await session.message_service("n0", {"x": 1}, job_id=log.job_id) == 1
    end = end_of([event async for event in session])
    assert end.outputs == {"o": "heard"}
    lines = sys.modules["service_diary"].lines
    assert lines == ["sync 1", f"async 1 n0 {log.job_id}"]


async def test_a_message_to_no_service_is_refused(tmp_path: Path, mainframe: Mainframe) -> None:
    package = ServicePackage(tmp_path / "pack", COUNTING)
    session = await mainframe.start(package.plan("add"))
    await session.wait()
    with pytest.raises(Rejected, match="runs here"):
        await session.message_service("n0", 1)


async def test_a_call_that_fails_is_tried_again_as_the_services_file_says(mainframe: Mainframe, tmp_path: Path) -> None:
    source = """
        async def main(service):
            calls = 0

            async def add(inputs, ctx):
                nonlocal calls
                calls += 1
                if calls == 1:
                    raise ValueError("not yet")
                return {"out": calls}

            service.block_handler = {"add": add}
        """
    package = ServicePackage(tmp_path / "pack", source, stop_at="session_end")
    blocks = [{"name": "add", "outputs_def": [{"handle": "out"}], "retries": {"retries": 1, "backoff": 0}}]
    file = package.root / "services/svc/service.oo.yaml"
    file.write_text(yaml.safe_dump({"executor": package.executor, "blocks": blocks}))
    path = package.root / "flows" / "f" / "flow.oo.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "outputs_def: [{handle: o}]\noutputs_from: [{handle: o, from_node: [{node_id: n, output_handle: out}]}]\n"
        "nodes: [{node_id: n, service: self::svc::add}]\n"
    )
    session = await mainframe.start(path)
    assert (await session.wait()).outputs == {"o": 2}
