"""What commands load: a client of a mainframe loads neither a mainframe nor an executor, so its first word comes soon."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ..flow.packages import block
from ..processes import free_port, run, start

SOURCE = "async def main(inputs, ctx):\n    return {'y': inputs['x']}\n"

OF_PLACES = {"asyncblock.server", *(f"asyncblock.server.journal{each}" for each in ("", ".contract", ".datadir"))}
"""What is needed to find out where a mainframe is served."""

CLIENT = (
    "asyncblock.executor",
    "asyncblock.context",
    "asyncblock.preview",
    "asyncblock.inprocess.embedding",
    "sqlite3",
)
"""Those of a mainframe and an executor."""

HELP = (*CLIENT, "asyncblock.client", "asyncblock.flow", "asyncblock.wire", "websockets", "yaml")


async def loaded(tmp_path: Path, *arguments: str | Path, code: int = 0) -> set[str]:
    """Run a command and return the modules that its process has imported."""
    done = await run(*arguments, state=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.process.returncode == code, done.err[-20:]
    return {line.rpartition("|")[2].strip() for line in done.err if line.startswith("import time:")}


def beyond(modules: set[str], kept_out: tuple[str, ...]) -> set[str]:
    """Return those modules that belong to packages that should be kept out."""
    server = {each for each in modules if each.startswith("asyncblock.server")} - OF_PLACES
    return server | {each for each in modules for name in kept_out if each == name or each.startswith(f"{name}.")}


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("submit", "--help"), ("run", "--help")])
async def test_what_only_tells_of_commands_loads_no_part_of_the_engine(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    modules = await loaded(tmp_path, *arguments)
    assert "asyncblock.cli.app" in modules
    assert beyond(modules, HELP) == set()


async def test_a_client_loads_no_mainframe_and_no_executor(tmp_path: Path) -> None:
    path = block(tmp_path / "pkg", "same", "x=1", "y", SOURCE)
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(start("serve", "--port", str(free_port()), state=tmp_path))
        await mainframe.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", tmp_path / "pkg", state=tmp_path))
        await executor.until_line("executor for", err=True)
        for more in ((), ("--json",), ("--matrix", "x=1,2")):
            modules = await loaded(tmp_path, "submit", path, *more)
            assert "asyncblock.client" in modules
            assert beyond(modules, (*CLIENT, "asyncblock.report", "asyncblock.page", "asyncblock.viewer")) == set()
        with_url = await loaded(tmp_path, "check", path, "--url", "here")
        assert beyond(with_url, (*CLIENT, "rich.progress", "asyncblock.report")) == set()


async def test_a_flow_is_checked_and_drawn_without_a_client_that_connects(tmp_path: Path) -> None:
    path = block(tmp_path / "pkg", "same", "x=1", "y", SOURCE)
    for name in ("check", "graph"):
        modules = await loaded(tmp_path, name, path)
        assert "asyncblock.flow.load" in modules
        assert beyond(modules, CLIENT) == set()
