"""Directories of jobs, and what a node's jobs keep for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncblock import events
from asyncblock.context import JobDirectories

from ..flows import all_of, end_of, node, one_block, run_block, run_flow, write_flow


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("ASYNCBLOCK_SESSION_DIR", "ASYNCBLOCK_TMP_DIR", "ASYNCBLOCK_PKG_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("form", ["async def", "def"])
async def test_a_block_has_directories_of_its_session_flow_and_package(homes: Path, form: str) -> None:
    source = f"""
        import os
        {form} main(inputs, ctx):
            names = ("session_dir", "tmp_dir", "tmp_pkg_dir", "pkg_dir", "pkg_data_dir")
            found = {{name: getattr(ctx, name) for name in names}}
            assert all(os.path.isdir(path) for path in found.values()), found
            return {{"out": {{**found, "session_id": ctx.session_id, "host": ctx.host_info}}}}
        """
    found = end_of(await run_block(homes / "pack", source)).outputs["out"]
    session = homes / "cache/asyncblock/sessions" / found["session_id"]
    assert found["session_dir"] == str(session)
    tmp = Path(found["tmp_dir"])
    assert tmp.name == found["session_id"]
    assert tmp.parent.parent == homes / "cache/asyncblock/tmp"
    assert found["tmp_pkg_dir"] == str(tmp / "pack")
    assert found["pkg_dir"] == found["pkg_data_dir"] == str(homes / "data/asyncblock/packages/pack")
    assert found["host"] == {"gpu_vendor": "unknown", "gpu_renderer": "unknown"}


async def test_the_environment_puts_directories_elsewhere(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SESSION_DIR", "TMP_DIR", "PKG_DATA_DIR"):
        monkeypatch.setenv(f"ASYNCBLOCK_{name}", str(homes / name))
    monkeypatch.setenv("OOMOL_HOST_GPU_VENDOR", "acme")
    source = """
        async def main(inputs, ctx):
            return {"out": [ctx.session_dir, ctx.tmp_dir, ctx.pkg_data_dir, ctx.host_info["gpu_vendor"]]}
        """
    session, tmp, data, vendor = end_of(await run_block(homes / "pack", source)).outputs["out"]
    assert Path(session).parent == homes / "SESSION_DIR"
    assert Path(tmp).parent.parent == homes / "TMP_DIR"
    assert Path(data).parent == homes / "PKG_DATA_DIR"
    assert vendor == "acme"


async def test_nothing_is_made_that_no_block_asks_for(homes: Path) -> None:
    await run_block(homes / "pack", "async def main(inputs, ctx): return {'out': ctx.node_id}")
    # But the directory of scratch files, in which processes of a host know each other by a token.
    assert [path.name for path in (homes / "cache/asyncblock").iterdir()] == ["bodies"]
    assert not (homes / "data").exists()


def test_temporary_directories_go_when_a_later_session_of_the_flow_went_well(homes: Path) -> None:
    directories = JobDirectories()
    first = directories.tmp_dir("first", "/flows/a/flow.oo.yaml")
    (first / "kept.txt").write_text("x")
    failed = directories.tmp_dir("failed", "/flows/a/flow.oo.yaml")
    other = directories.tmp_dir("other", "/flows/b/flow.oo.yaml")
    directories.tidy(directories.end_session("first"))
    assert (first / "kept.txt").exists()
    directories.job_failed("failed")
    directories.tidy(directories.end_session("failed"))
    assert first.exists()
    last = directories.tmp_dir("last", "/flows/a/flow.oo.yaml")
    directories.tidy(directories.end_session("last"))
    assert (first.exists(), failed.exists(), last.exists(), other.exists()) == (False, True, True, True)


FLOW_A, FLOW_B = "/flows/a/flow.oo.yaml", "/flows/b/flow.oo.yaml"


def session_ends(directories: JobDirectories, session_id: str, flow: str) -> None:
    """Let a session that goes well use a flow's directory, and end."""
    directories.tmp_dir(session_id, flow)
    directories.tidy(directories.end_session(session_id))


def a_week_ago(directory: Path) -> None:
    """Let a directory's mark be of a time that is just too long ago."""
    mark = directory.with_name(directory.name + ".failed")
    then = mark.stat().st_mtime - 7 * 86400 - 1
    os.utime(mark, (then, then))


def test_temporary_directories_of_a_session_that_failed_stay_for_a_week(homes: Path) -> None:
    directories = JobDirectories()
    failed = directories.tmp_dir("failed", FLOW_A)
    (failed / "half.csv").write_text("x")
    directories.job_failed("failed")
    directories.tidy(directories.end_session("failed"))
    for number in range(3):
        session_ends(directories, f"fine{number}", FLOW_A)
    assert (failed / "half.csv").exists()
    a_week_ago(failed)
    # Whichever flow comes next.
    session_ends(directories, "other", FLOW_B)
    assert sorted(path.name for path in failed.parent.iterdir()) == ["fine2", "fine2.done"]


def test_what_failed_in_one_of_two_processes_stays_as_if_it_had_in_both(homes: Path) -> None:
    one, other = JobDirectories(), JobDirectories()
    shared = one.tmp_dir("failed", FLOW_A)
    assert other.tmp_dir("failed", FLOW_A) == shared
    one.job_failed("failed")
    one.tidy(one.end_session("failed"))
    other.tidy(other.end_session("failed"))
    session_ends(one, "fine", FLOW_A)
    assert shared.is_dir()
    a_week_ago(shared)
    session_ends(one, "again", FLOW_A)
    assert sorted(path.name for path in shared.parent.iterdir()) == ["again", "again.done"]


KILLED = """
import os, signal
from asyncblock.context import JobDirectories
print(JobDirectories().tmp_dir("killed", "/flows/a/flow.oo.yaml"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_those_of_a_process_that_was_killed_stay_for_a_week_since_that_was_found(homes: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    directories = JobDirectories()
    session_ends(directories, "one", FLOW_B)
    session_ends(directories, "two", FLOW_B)
    assert left.is_dir()
    a_week_ago(left)
    session_ends(directories, "three", FLOW_B)
    assert list(left.parent.iterdir()) == []


def test_those_that_a_process_uses_stay_however_long_it_takes(homes: Path) -> None:
    theirs, ours = JobDirectories(), JobDirectories()
    used = theirs.tmp_dir("long", FLOW_A)
    session_ends(ours, "one", FLOW_A)
    mark = used.with_name("long.failed")
    assert not mark.exists()
    # Its process has gone, and another one goes on with the session.
    theirs.close()
    session_ends(ours, "two", FLOW_A)
    a_week_ago(used)
    theirs = JobDirectories()
    assert theirs.tmp_dir("long", FLOW_A) == used
    session_ends(ours, "three", FLOW_A)
    assert used.is_dir()
    assert not mark.exists()
    theirs.tidy(theirs.end_session("long"))
    ours.close()
    assert sorted(path.name for path in used.parent.iterdir()) == ["long", "long.done"]


@pytest.mark.parametrize("name", ["..", ".", "../../etc", "/etc", "@scope/pack", "a\x00b"])
def test_names_from_outside_stay_inside(homes: Path, name: str) -> None:
    directories = JobDirectories()
    for made in (
        directories.session_dir(name),
        directories.package_data_dir(name),
        directories.package_tmp_dir(name, name, name),
    ):
        assert (homes / "cache/asyncblock" in made.parents) or (homes / "data/asyncblock" in made.parents)
        assert ".." not in made.parts


async def test_a_node_store_is_shared_by_a_nodes_jobs_and_no_others(homes: Path) -> None:
    directory = homes / "pack"
    count = """
        async def main(inputs, ctx):
            store = ctx.flow_node_store
            store["seen"] = store.get("seen", 0) + inputs["x"]
            await ctx.output(store["seen"], "out")
        """
    nodes = [
        node("many", "async def main(i, ctx):\n    for x in (1, 2, 3): await ctx.output(x, 'out')", directory),
        *(
            node(
                name,
                count,
                directory,
                inputs=[{"handle": "x"}],
                inputs_from=[{"handle": "x", "from_node": [{"node_id": "many", "output_handle": "out"}]}],
            )
            for name in ("a", "b")
        ),
    ]
    path = write_flow(directory, nodes)
    for _ in range(2):
        found = await run_flow(path)
        assert end_of(found).state == "succeeded"
        outputs = all_of(found, events.BlockOutput)
        for name in ("a", "b"):
            assert [e.output for e in outputs if e.node_id == name] == [1, 3, 6]


async def test_definitions_of_handles_can_be_read_and_not_changed(tmp_path: Path) -> None:
    source = """
        async def main(inputs, ctx):
            assert ctx.outputs_def["out"]["handle"] == "out"
            assert dict(ctx.inputs_def) == {}
            for defs in (ctx.inputs_def, ctx.outputs_def):
                try:
                    defs["out"] = {}
                except TypeError:
                    continue
                raise AssertionError("it could be changed")
        """
    assert end_of(await run_flow(one_block(tmp_path, source))).state == "succeeded"
