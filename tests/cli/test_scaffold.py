"""``asyncblock new``: what it makes runs, and its tests pass; and names of flows that are nearly right."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from asyncblock.blockcode.packages import package_hash

from ..flows import one_block
from ..processes import run

pytestmark = pytest.mark.timeout(180)  # many commands, each of which has to start


async def test_what_it_makes_runs_and_its_tests_pass(tmp_path: Path) -> None:
    made = await run("new", "my-prices", "--in", tmp_path, state=tmp_path)
    assert made.process.returncode == 0, made.err
    package = tmp_path / "my-prices"
    done = await run("run", package, state=tmp_path)
    assert 'summary = {"price":10.875,"amount":5.0}' in "\n".join(done.out), done.err
    own = tmp_path / "own.csv"
    own.write_text("a,b\n1,x\n3,y\n")
    done = await run("run", package, "-i", f"path={own}", state=tmp_path)
    assert 'summary = {"a":2.0}' in "\n".join(done.out), done.err
    assert (await run("check", package, state=tmp_path)).process.returncode == 0
    tests = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", package),
        stdout=asyncio.subprocess.PIPE,
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    out, _ = await tests.communicate()
    assert b"2 passed" in out, out.decode()
    before = package_hash(package)
    (package / "tests/test_more.py").write_text("def test_more():\n    pass\n")
    assert package_hash(package) == before, "an edited test is no other version of the code"
    # A second time nothing is touched.
    again = await run("new", "my-prices", "--in", tmp_path, state=tmp_path)
    assert again.process.returncode == 2 and "isn't empty" in "\n".join(again.err)


async def test_it_reads_files_as_other_programs_write_them(tmp_path: Path) -> None:
    await run("new", "prices", "--in", tmp_path, state=tmp_path)
    own = tmp_path / "own.csv"
    # A mark at the beginning, rows that are too long and too short, cells that are numbers and no amounts.
    own.write_bytes("\ufeffid,price\n1,nan,more\n2,1e999\n3\n4,8\n".encode() + b"".join(b"5,\n" for _ in range(2000)))
    done = await run("run", tmp_path / "prices", "-i", f"path={own}", state=tmp_path)
    text = "\n".join(done.out)
    assert "preview: table, 2004 rows" in text, "of a long file all rows can be looked at"
    assert '"price":8.0}' in text and '{"id":' in text, (text, done.err)


async def test_with_the_cache_its_sample_counts(tmp_path: Path) -> None:
    await run("new", "prices", "--in", tmp_path, state=tmp_path)
    how = ("run", tmp_path / "prices", "--use-cache", "--in-process")
    cache = {"ASYNCBLOCK_CACHE_DIR": str(tmp_path / "results")}
    for edit, summary in [
        ("", '"price":10.875'),
        ("", '"price":10.875'),
        ("date,price,amount\n2024-01-02,4,5\n", '"price":4.0'),
    ]:
        if edit:
            (tmp_path / "prices/sample.csv").write_text(edit)
        done = await run(*how, state=tmp_path, **cache)
        assert summary in "\n".join(done.out), (done.out, done.err)
    # The reader has a path of its own, and isn't run again after an edit of the other block.
    summarize = tmp_path / "prices/blocks/summarize/main.py"
    summarize.write_text(summarize.read_text().replace("sum(found) / len(found)", "max(found)"))
    done = await run(*how, state=tmp_path, **cache)
    text = "\n".join(done.out)
    assert "read: from the cache" in text and "summarize: not in the cache: its code has changed" in text, text


@pytest.mark.parametrize("name", ["My Prices", "../up", "1st", ""])
async def test_what_can_be_no_packages_name_is_refused(tmp_path: Path, name: str) -> None:
    refused = await run("new", name, "--in", tmp_path, state=tmp_path)
    assert refused.process.returncode == 2
    assert list(tmp_path.iterdir()) == []


async def test_names_that_are_nearly_right_are_suggested(tmp_path: Path) -> None:
    refused = await run("run", "stoks", state=tmp_path)
    assert "Did you mean 'stocks'?" in "\n".join(refused.err)


async def test_a_package_with_several_flows_says_which_there_are(tmp_path: Path) -> None:
    for name in ("first", "second"):
        one_block(tmp_path / "flows" / name, "async def main(inputs, ctx):\n    await ctx.output(1, 'out')\n")
    refused = await run("run", tmp_path, state=tmp_path)
    text = "\n".join(refused.err)
    assert refused.process.returncode == 2 and "has 2 flows" in text and str(tmp_path / "flows" / "second") in text


async def test_shells_can_be_taught_to_complete(tmp_path: Path) -> None:
    # Without it the shell is that which has started the tests, if any has.
    given = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = await run("--show-completion", "bash", state=tmp_path, **given)
    assert shown.process.returncode == 0 and "COMPLETE=complete_bash" in "\n".join(shown.out)
