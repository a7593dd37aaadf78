"""``asyncblock resume``: a run that was killed as a whole goes on from its data directory."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from ..flows import handle_def, node, write_flow
from ..processes import Command, all_ended, run, start


def three_steps(directory: Path, *, retries: int = 0) -> Path:
    """Steps one after the other that note each of their runs; the second waits until the file ``go`` is there."""
    source = """
    import asyncio
    from pathlib import Path

    async def main(inputs, ctx):
        here = Path(__file__).parent.parent
        with open(here / f"{ctx.node_id}.ran", "a") as ran:
            ran.write(str(ctx.attempt))
        await ctx.output(f"{inputs.get('v', '')}{ctx.node_id}", "out")
        await ctx.flush()
        print("running", ctx.node_id)
        while ctx.node_id == "b" and not (here / "go").exists():
            await asyncio.sleep(0.01)
        print("through", ctx.node_id)
    """
    nodes: list[dict[str, Any]] = []
    for name, before in (("a", None), ("b", "a"), ("c", "b")):
        fed = [{"handle": "v", "from_node": [{"node_id": before, "output_handle": "out"}]}] if before else []
        made = node(name, source, directory, inputs=[handle_def("v")] if before else [], inputs_from=fed)
        made["task"]["retries"] = {"retries": retries, "backoff": 0.01}
        nodes.append(made)
    outputs = [{"handle": "all", "from_node": [{"node_id": "c", "output_handle": "out"}]}]
    return write_flow(directory, nodes, outputs_from=outputs)


async def killed_in_b(flow: Path, state: Path, *arguments: str | Path) -> tuple[str, Command]:
    """Run the flow and kill -9 the command when its second step runs; return the session's id."""
    async with start("run", flow, "--json", *arguments, state=state) as command:
        await command.until_line("running b")
        children = [pid for pid in command.family() if pid != command.process.pid]
        command.kill(signal.SIGKILL)
        await command.wait()
    # They need no telling, and they take no 30 s of grace.
    await all_ended(children)
    return str(command.events()[0]["session_id"]), command


def ran(state: Path) -> dict[str, str]:
    """Return the attempts that each step has run."""
    return {path.stem: path.read_text() for path in sorted(state.glob("*.ran"))}


@pytest.mark.parametrize("where", [(), ("--in-process",)])
async def test_finished_jobs_do_not_run_again_and_the_running_one_is_tried_again(
    tmp_path: Path, where: tuple[str, ...]
) -> None:
    session_id, _ = await killed_in_b(three_steps(tmp_path / "f", retries=1), tmp_path, *where)
    (tmp_path / "go").touch()
    resumed = await run("resume", session_id, "--json", *where, state=tmp_path)
    assert resumed.process.returncode == 0
    end = resumed.events()[-1]
    assert (end["session_id"], end["state"], end["outputs"]) == (session_id, "succeeded", {"all": "abc"})
    assert ran(tmp_path) == {"a": "1", "b": "12", "c": "1"}
    assert resumed.events()[0]["type"] == "SessionStarted"


@pytest.mark.parametrize("where", [(), ("--in-process",)])
async def test_a_session_whose_code_was_edited_waits_and_goes_on_where_that_is_accepted(
    tmp_path: Path, where: tuple[str, ...]
) -> None:
    session_id, _ = await killed_in_b(three_steps(tmp_path / "f", retries=1), tmp_path, *where)
    (tmp_path / "go").touch()
    (tmp_path / "f" / "c.py").write_text("def main(inputs, ctx):\n    return {'out': 'edited'}\n")
    async with start("resume", session_id, *where, state=tmp_path) as waiting:
        line = await waiting.until_line("waiting: no executor has version")
        children = [pid for pid in waiting.family() if pid != waiting.process.pid]
        # An interrupt would cancel the session.
        waiting.kill(signal.SIGKILL)
        await waiting.wait()
    await all_ended(children)
    assert (f"asyncblock resume {session_id} --accept" in line) == (where == ())
    assert "--accept" in line
    resumed = await run("resume", session_id, "--json", "--accept", "any", *where, state=tmp_path)
    assert resumed.events()[-1]["outputs"] == {"all": "edited"}
    assert any(event["type"] == "VersionAccepted" for event in resumed.events())


async def test_without_retries_the_running_job_fails_with_the_reason(tmp_path: Path) -> None:
    session_id, _ = await killed_in_b(three_steps(tmp_path / "f"), tmp_path)
    (tmp_path / "go").touch()
    resumed = await run("resume", session_id, "--json", state=tmp_path)
    assert resumed.process.returncode == 1
    error = resumed.events()[-1]["error"]
    assert "node b" in error
    assert "the process that hosted its mainframe has ended" in error
    assert ran(tmp_path)["b"] == "1"


async def test_a_session_that_has_ended_is_shown_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    first = await run("run", three_steps(tmp_path / "f"), "--json", state=tmp_path)
    again = await run("resume", first.events()[0]["session_id"], "--json", state=tmp_path)
    assert (again.process.returncode, again.out) == (0, first.out)
    assert ran(tmp_path) == {"a": "1", "b": "1", "c": "1"}


async def test_a_data_directory_of_the_users_own_is_given_again(tmp_path: Path) -> None:
    flow, data = three_steps(tmp_path / "f", retries=1), tmp_path / "data"
    session_id, _ = await killed_in_b(flow, tmp_path, "--data-dir", data)
    (tmp_path / "go").touch()
    lost = await run("resume", session_id, state=tmp_path)
    assert lost.process.returncode == 2
    assert "--data-dir" in lost.err[0]
    found = await run("resume", session_id, "--data-dir", data, state=tmp_path)
    assert found.process.returncode == 0
    assert found.out[-1] == '  all = "abc"'


async def test_what_can_be_resumed_is_listed_for_an_unknown_id(tmp_path: Path) -> None:
    session_id, _ = await killed_in_b(three_steps(tmp_path / "f", retries=1), tmp_path)
    lost = await run("resume", "0000", state=tmp_path)
    assert lost.process.returncode == 2
    assert f"these haven't ended: {session_id} (f)" in lost.err[0]


async def test_the_directory_of_a_served_mainframe_is_told_from_a_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with start("serve", "--port", "0", "--data-dir", data, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
    refused = await run("resume", "abc", "--data-dir", data, state=tmp_path)
    assert refused.process.returncode == 2
    assert f"asyncblock serve --data-dir {data}" in refused.err[0]
