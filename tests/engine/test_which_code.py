"""Which code runs: what stands in a package's directory besides its code is nobody's business."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import asyncblock

from ..flows import end_of
from ..processes import free_port, run, start
from .test_packages import OUT, Package, out_of
from .test_packages import run as embedded

WRITES = """
import json
from pathlib import Path

HERE = Path(__file__).parent

def main(inputs):
    count = len(list(HERE.glob("made_*.json")))
    (HERE / f"made_{count}.json").write_text("[]")
    (HERE / f"made_{count}.py").write_text(f"x = {count}")
    (HERE.parents[1] / "data").mkdir(exist_ok=True)
    (HERE.parents[1] / "data" / f"{count}.csv").write_text("a,b")
    return {"out": count}
"""
TWICE: list[dict[str, Any]] = [
    {"node_id": "one", "task": "self::writes"},
    {"node_id": "two", "task": "self::writes", "inputs_from": [{**out_of("one")[0], "handle": "x"}]},
]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "pack")


@pytest.mark.parametrize("spawn", [False, True])
async def test_blocks_write_sources_and_data_beside_themselves(tmp_path: Path, package: Package, spawn: bool) -> None:
    """A process that is started for the second job finds what the first has changed."""
    package.block("writes", WRITES, inputs_def=[{"handle": "x", "nullable": True}], outputs_def=OUT)
    if spawn:
        manifest = package.root / "blocks" / "writes" / "block.oo.yaml"
        manifest.write_text(manifest.read_text().replace("entry: main.py", "entry: main.py\n    spawn: true"))
    path = package.flow(TWICE, outputs_from=out_of("two"))
    for first in (0, 2):
        command = await run("run", path, "--json", state=tmp_path)
        assert command.process.returncode == 0, command.out + command.err
        assert command.events()[-1]["outputs"] == {"out": first + 1}


async def test_a_run_s_own_output_may_go_into_the_package(tmp_path: Path, package: Package) -> None:
    package.block("one", "def main(inputs): return {'out': 1}", outputs_def=OUT)
    path = package.flow([{"node_id": "one", "task": "self::one"}], outputs_from=out_of("one"))
    process = await asyncio.create_subprocess_shell(
        f"'{sys.executable}' -m asyncblock run '{path.parent}' --json --data-dir run > out.json",
        cwd=package.root,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "XDG_STATE_HOME": str(tmp_path)},
    )
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert '"succeeded"' in (package.root / "out.json").read_text()


async def test_an_executor_and_a_submit_agree_whatever_else_stands_in_the_package(
    tmp_path: Path, package: Package
) -> None:
    """Its blocks write beside themselves between the two; there are special files, and more data than code may be."""
    package.block(
        "writes", WRITES.replace(".py", ".txt"), inputs_def=[{"handle": "x", "nullable": True}], outputs_def=OUT
    )
    path = package.flow(TWICE, outputs_from=out_of("two"))
    os.mkfifo(package.root / "blocks" / "writes" / "pipe.py")
    (package.root / "link.py").symlink_to("nowhere")
    with (package.root / "large.bin").open("wb") as file:
        file.truncate(300 << 20)
    data = tmp_path / "data"
    async with start("serve", "--data-dir", data, "--port", str(free_port()), state=tmp_path) as serve:
        await serve.until_line("mainframe at", err=True)
        async with start("executor", "--data-dir", data, "--package", package.root, state=tmp_path) as executor:
            await executor.until_line("executor for", err=True)
            for first in (0, 2):
                submit = await run("submit", path, "--data-dir", data, "--json", state=tmp_path)
                assert submit.process.returncode == 0, submit.out
                assert submit.events()[-1]["outputs"] == {"out": first + 1}
                (package.root / "flows" / "main" / "notes.md").write_text("new")


async def test_two_copies_of_a_package_keep_their_own_data(tmp_path: Path) -> None:
    """Their code is the same, so their hash is; the blocks of each read what stands beside them."""
    paths = []
    for name in ("first", "second"):
        package = Package(tmp_path / name)
        source = "from pathlib import Path\ndef main(): return {'out': Path(__file__).with_name('data').read_text()}"
        package.block("reads", source, outputs_def=OUT)
        package.write("blocks/reads/data", name)
        paths.append(package.flow([{"node_id": "n", "task": "self::reads"}], outputs_from=out_of("n")))
    async with asyncblock.embedded(tmp_path / "data", workers=1) as mainframe:
        sessions = [await mainframe.start(path) for path in paths]
        assert [await session.outputs() for session in sessions] == [{"out": "first"}, {"out": "second"}]
    for path in (*paths, *paths):
        name = path.parents[2].name
        assert end_of(await embedded(path, tmp_path / f"data-{name}")).outputs == {"out": name}
