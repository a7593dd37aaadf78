"""Edits while a command runs: ``executor --reload`` and ``run --watch`` pick them up, and only those of code."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import orjson
import pytest

from asyncblock.blockcode.packages import package_hash

from ..engine.test_deploys import GATE, a_package, edit, executing, leaves, served, submitting, until_executors
from ..processes import run, start

pytestmark = pytest.mark.timeout(240)
"""Each test starts up to six processes."""


async def test_an_executor_follows_edits_and_ends_what_it_runs(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    async with (
        served(tmp_path, "--version-timeout", "0.5") as data,
        executing(tmp_path, package, "--reload") as executor,
    ):
        await until_executors(data, 1)
        async with submitting(tmp_path, flow) as before:
            await before.until_line("running")
            (package.root / "blocks" / "says" / "result.json").write_text("[]")
            (package.root / "blocks" / "says" / "main.py").write_text(
                "# only said otherwise\n" + (package.root / "blocks" / "says" / "main.py").read_text()
            )
            new = edit(package, "second")
            await executor.until_line(f"edited: pack is version {new}", err=True)
            async with submitting(tmp_path, flow) as after:
                await after.until_line("running")
                (tmp_path / GATE).touch()
                assert await after.wait() == 0
                assert '  out = "second"' in after.out
                # Its running job has ended; the next would be of code that isn't there any more.
                assert await before.wait() == 1
                assert "one: finished" in before.out
                assert any("no executor has version" in line and new in line for line in before.out)
        await leaves(executor)
        assert await executor.wait() == 0
    assert [line for line in executor.err if line.startswith("edited")] == [
        f"edited: pack is version {new}; a new process takes the jobs, the old one ends what it runs"
    ]
    assert len(executor.out) == 2, "each process reports"


async def test_an_executor_sees_new_directories_and_survives_a_manifest_that_is_wrong(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    (tmp_path / GATE).touch()
    async with served(tmp_path) as data, executing(tmp_path, package, "--reload") as executor:
        await until_executors(data, 1)
        manifest = package.root / "package.oo.yaml"
        fine = manifest.read_text()
        manifest.write_text(f"{fine}code: {{includes: [a]}}\n")
        await executor.until_line("'code' holds 'include' and 'exclude'", err=True)
        manifest.write_text(fine)
        package.write("lib/deep/tool.py", "WORD = 'third'")
        await executor.until_line(f"version {package_hash(package.root)[:12]}", err=True)
        package.write("lib/deep/tool.py", "WORD = 'fourth'")
        package.write("blocks/says/main.py", "from lib.deep.tool import WORD\ndef main(inputs): return {'out': WORD}")
        await executor.until_line(f"version {package_hash(package.root)[:12]}", err=True)
        async with submitting(tmp_path, flow) as submit:
            assert await submit.wait() == 0
            assert '  out = "fourth"' in submit.out


async def test_run_watch_runs_again_after_each_edit(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    (tmp_path / GATE).touch()
    async with start("run", flow, "--watch", state=tmp_path) as command:
        await command.until_line("waiting for edits", err=True)
        assert '  out = "first"' in command.out
        package.write("blocks/says/main.py", "def main(inputs: return")
        await command.until_line("invalid syntax", err=True)
        package.write("blocks/says/main.py", "def main(inputs): return {'out': 'second'}")
        await command.until_line('  out = "second"')
        # While it runs, an edit ends the session; a flow's own file is an edit, too.
        (tmp_path / GATE).unlink()
        count = len([line for line in command.out if "running" in line])
        flow.write_text(f"title: again\n{flow.read_text()}")
        await command.until_lines("running", count + 1)
        package.write("blocks/says/main.py", "def main(inputs): return {'out': 'third'}")
        (tmp_path / GATE).touch()
        await command.until_line('  out = "third"')
        command.kill(signal.SIGINT)
        assert await command.wait() == 130
    assert command.family() == []
    assert os.path.exists(flow)


LONG = """
import asyncio

async def main(inputs):
    try:
        print("sleeps")
        await asyncio.Event().wait()
    finally:
        print("cleaned up")
"""


async def test_an_edit_cancels_what_runs_and_waits_for_its_clean_up_alone(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    package.write("blocks/says/main.py", LONG)
    (tmp_path / GATE).touch()
    async with start("run", flow, "--watch", state=tmp_path) as command:
        await command.until_line("sleeps")
        package.write("blocks/says/main.py", "def main(inputs): return {'out': 'after'}")
        await command.until_line('  out = "after"')
        text = "\n".join(command.err)
        assert "edited while it runs: it is cancelled" in text
        assert "still run after" not in text, "its executor's grace isn't for it"
        # The flow's file goes and comes back, as where a branch is changed.
        kept = flow.read_text()
        flow.unlink()
        await command.until_line("the flow can't be run", err=True)
        count = len([line for line in command.out if "running" in line])
        flow.write_text(kept)
        await command.until_lines("running", count + 1)
        command.kill(signal.SIGINT)
        assert await command.wait() == 130
    listed = await run("sessions", "--json", state=tmp_path)
    assert [orjson.loads(line)["state"] for line in listed.out][-1] == "cancelled"


@pytest.mark.parametrize(("command", "option"), [("run", "--watch"), ("executor", "--reload")])
async def test_without_watchfiles_it_says_what_to_install(tmp_path: Path, command: str, option: str) -> None:
    (tmp_path / "none" / "watchfiles").mkdir(parents=True)
    (tmp_path / "none" / "watchfiles" / "__init__.py").write_text("raise ImportError")
    argument = ["stocks"] if command == "run" else []
    path = f"{tmp_path / 'none'}:{Path.cwd()}"
    async with start(command, *argument, option, state=tmp_path, PYTHONPATH=path) as started:
        assert await started.wait() == 2
    assert started.err == [f"asyncblock: {option} needs watchfiles: pip install 'asyncblock[reload]'"]
