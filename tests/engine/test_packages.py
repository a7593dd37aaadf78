"""The engine's features as packages on disk use them: no plan is made by hand here."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of
from ..processes import start
from ..server.sessionstate.test_recovery import children_of

VAR = {"contentMediaType": "oomol/var"}


class Package:
    """A package in the making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        (root / "package.oo.yaml").write_text("name: pack\nversion: 1.0.0\n")

    def write(self, path: str, content: object) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(content) if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        file.write_text(text)
        return file

    def block(self, name: str, source: str, **manifest: Any) -> None:
        executor = {"name": "python", "options": {"entry": "main.py"}}
        self.write(f"blocks/{name}/block.oo.yaml", {"executor": executor, **manifest})
        self.write(f"blocks/{name}/main.py", source)

    def flow(self, nodes: list[dict[str, Any]], kind: str = "flow", **more: Any) -> Path:
        return self.write(f"{kind}s/main/{kind}.oo.yaml", {"nodes": nodes, **more})


def out_of(node_id: str) -> list[dict[str, Any]]:
    return [{"handle": "out", "from_node": [{"node_id": node_id, "output_handle": "out"}]}]


OUT = [{"handle": "out"}]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "pack")


async def run(path: Path, data: Path, **options: Any) -> list[events.Event]:
    async with asyncblock.embedded(data, **options) as mainframe:
        return [event async for event in await mainframe.start(path)]


async def test_blocks_run_blocks_and_subflows_of_their_package(tmp_path: Path, package: Package) -> None:
    package.block(
        "child",
        "def main(inputs): return {'out': inputs['x'] + inputs['more']}",
        description="Adds.",
        inputs_def=[{"handle": "x"}, {"handle": "more", "value": 10}],
        outputs_def=OUT,
    )
    package.flow(
        [
            {
                "node_id": "twice",
                "task": "self::child",
                "inputs_from": [
                    {"handle": "x", "from_flow": [{"input_handle": "x"}]},
                    {"handle": "more", "from_flow": [{"input_handle": "x"}]},
                ],
            }
        ],
        "subflow",
        description="Doubles.",
        inputs_def=[{"handle": "x"}],
        outputs_def=OUT,
        outputs_from=out_of("twice"),
    )
    package.block(
        "caller",
        """
        async def main(inputs, ctx):
            found = {}
            for name in ("self::child", "pack::child", "child", "../../blocks/child", "self::main"):
                found[name] = (await (await ctx.run_block(name, inputs={"x": 4}, strict=True)))["out"]
            found["kinds"] = [(await ctx.query_block(name))["description"] for name in ("self::child", "self::main")]
            try:
                await ctx.query_block("self::childe")
            except Exception as error:
                found["error"] = str(error)
            return {"out": found}
        """,
        outputs_def=OUT,
    )
    path = package.flow([{"node_id": "caller", "task": "self::caller"}], outputs_from=out_of("caller"))
    end = end_of(await run(path, tmp_path / "data"))
    assert end.state == "succeeded", end.error
    found = end.outputs["out"]
    assert "Did you mean 'self::child'?" in found.pop("error")
    assert found == {
        **dict.fromkeys(("self::child", "pack::child", "child", "../../blocks/child"), 14),
        "self::main": 8,
        "kinds": ["Adds.", "Doubles."],
    }


async def test_worker_processes_run_blocks_of_blocks_and_services(tmp_path: Path, package: Package) -> None:
    package.block(
        "child",
        "import os\ndef main(inputs): return {'out': os.getpid()}",
        outputs_def=[{"handle": "out"}],
    )
    package.block(
        "caller",
        """
        import os
        def main(inputs, ctx):
            return {"out": [ctx.run_block("self::child").result()["out"] == os.getpid() for _ in range(5)]}
        """,
        outputs_def=OUT,
    )
    package.write("services/svc/service.oo.yaml", {
        "executor": {"name": "python", "entry": "main.py"},
        "blocks": [{"name": "count", "inputs_def": [{"handle": "x"}], "outputs_def": OUT}],
    })  # fmt: skip
    package.write(
        "services/svc/main.py",
        """
        def main(service):
            calls = []
            async def count(inputs, ctx):
                calls.append(inputs["x"])
                job = await ctx.run_block("self::child")
                await job
                return {"out": len(calls)}
            service.block_handler = {"count": count}
        """,
    )
    path = package.flow(
        [
            {"node_id": "caller", "task": "self::caller"},
            {"node_id": "one", "service": "pack::svc::count", "inputs_from": [{**out_of("caller")[0], "handle": "x"}]},
            {"node_id": "two", "service": "pack::svc::count", "inputs_from": [{**out_of("one")[0], "handle": "x"}]},
        ],
        outputs_from=[out_of("caller")[0], {**out_of("two")[0], "handle": "calls"}],
    )
    end = end_of(await run(path, tmp_path / "data", workers=2))
    assert end.state == "succeeded", end.error
    # Beside the caller, where var values could be shared; both calls reach the one service.
    assert end.outputs == {"out": [True] * 5, "calls": 2}


async def test_b10_a_nodes_schema_overrides_make_a_secret(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the original they were never applied, and its example passed for that reason."""
    secrets = {"secrets": {"prod": {"type": "aws", "values": {"token": "t0p-s3cret"}}}}
    (tmp_path / "secrets.json").write_text(json.dumps(secrets))
    monkeypatch.setenv("ASYNCBLOCK_SECRETS", str(tmp_path / "secrets.json"))
    package.block(
        "use",
        """
        async def main(inputs, ctx):
            assert inputs["x"]["deep"][0] == "t0p-s3cret", "it is no secret"
            await ctx.report_log(inputs["x"]["deep"][0])
        """,
        inputs_def=[{"handle": "x"}],
    )
    secret = {"path": ["deep", 0], "schema": {"contentMediaType": "oomol/secret"}}
    given = {"handle": "x", "value": {"deep": ["aws,prod,token"]}, "schema_overrides": [secret]}
    path = package.flow([{"node_id": "use", "task": "self::use", "inputs_from": [given]}])
    found = await run(path, tmp_path / "data")
    assert end_of(found).state == "succeeded", end_of(found).error
    assert [event.log for event in all_of(found, events.BlockLog)] == ["***"]


async def test_e3_a_dataframe_is_kept_where_an_input_asks_for_it(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the original the wish never reached the block that makes the value."""
    monkeypatch.setenv("ASYNCBLOCK_VALUES_DIR", str(tmp_path / "values"))
    package.block(
        "make",
        "import pandas as pd\ndef main(inputs): return {'out': pd.DataFrame({'a': [1, 2]})}",
        outputs_def=[{"handle": "out", "json_schema": VAR}],
    )
    package.block(
        "take",
        "def main(inputs): return {'out': int(inputs['x']['a'].sum())}",
        inputs_def=[{"handle": "x", "json_schema": VAR}],
        outputs_def=OUT,
    )
    wish = {**out_of("make")[0], "handle": "x", "serialize_for_cache": True}
    path = package.flow(
        [{"node_id": "make", "task": "self::make"}, {"node_id": "take", "task": "self::take", "inputs_from": [wish]}],
        outputs_from=out_of("take"),
    )
    end = end_of(await run(path, tmp_path / "data"))
    assert end.outputs == {"out": 3}, end.error
    assert [each.suffixes for each in (tmp_path / "values").iterdir()] == [[".pandas", ".parquet"]]


async def test_a_killed_executor_takes_what_its_jobs_asked_for_with_it(tmp_path: Path, package: Package) -> None:
    """The caller is tried again and asks anew; of what its first attempt asked for nothing is left."""
    package.block(
        "child",
        """
        import asyncio
        async def main(inputs, ctx):
            print("child of attempt", inputs["attempt"], flush=True)
            if inputs["attempt"] == 1:
                await asyncio.Event().wait()
            return {"out": inputs["attempt"]}
        """,
        inputs_def=[{"handle": "attempt"}],
        outputs_def=OUT,
        retries=1,
    )
    package.block(
        "caller",
        """
        async def main(inputs, ctx):
            return await (await ctx.run_block("self::child", inputs={"attempt": ctx.attempt}))
        """,
        outputs_def=OUT,
        retries={"retries": 1, "backoff": 0.1},
    )
    path = package.flow([{"node_id": "caller", "task": "self::caller"}], outputs_from=out_of("caller"))
    async with start("run", path, "--json", state=tmp_path) as command:
        await command.until_line("child of attempt 1")
        for child in children_of(command.process.pid):
            os.kill(child, signal.SIGKILL)
        assert await command.wait() == 0
    found = command.events()
    assert found[-1]["outputs"] == {"out": 2}
    ends = {event["job_id"].rpartition(".0.")[2]: event for event in found if event["type"] == "BlockJobFinished"}
    assert ends["2.1"].get("error") is None
    assert "executor" in ends["1.1"]["error"]
    lines = [event["log"] for event in found if event["type"] == "BlockLog"]
    assert lines == ["child of attempt 1", "child of attempt 2"]
