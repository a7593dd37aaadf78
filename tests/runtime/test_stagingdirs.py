"""What is made on the way to something: it goes with its maker, and where that was killed, with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest

import asyncblock
from asyncblock.context import dataframes
from asyncblock.errors import Unavailable
from asyncblock.runtime.stagingdirs import StagingDir
from asyncblock.server.journal.copying import copy_journal


def killed(code: str, **environment: str) -> None:
    """Run a program that kills itself."""
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


KILLED = """
    import os, signal
    from pathlib import Path
    from asyncblock.runtime.stagingdirs import StagingDir
    with StagingDir(Path({target!r})) as fresh:
        (fresh / "half").write_bytes(b"x" * 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    """


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_draft_becomes_its_target_or_goes(tmp_path: Path) -> None:
    with StagingDir(tmp_path / "whole") as fresh:
        (fresh / "file").write_text("content")
        fresh.replace(tmp_path / "whole")
    with pytest.raises(KeyError), StagingDir(tmp_path / "half") as fresh:
        (fresh / "file").write_text("content")
        raise KeyError
    assert names(tmp_path) == ["whole"]
    assert (tmp_path / "whole" / "file").read_text() == "content"


def test_what_a_killed_maker_left_goes_with_the_next_of_the_same_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "t"
    others = [".t.notours1", ".t.12345678.draft.old", ".other.12345678.draft", ".t.1.draft"]
    for name in others:
        (tmp_path / name).mkdir()
    with StagingDir(target) as living:
        (living / "file").touch()
        killed(KILLED.format(target=str(target)))
        assert len(names(tmp_path)) == len(others) + 2
        with StagingDir(target) as fresh:
            assert names(tmp_path) == sorted([*others, living.name, fresh.name])
            assert names(living) == ["file"]
    assert names(tmp_path) == sorted(others)


async def test_what_a_killed_backup_left_goes_with_the_next_one(tmp_path: Path) -> None:
    async with asyncblock.embedded(tmp_path / "data"):
        pass
    killed(KILLED.format(target=str(tmp_path / "copy")))
    assert len(names(tmp_path)) == 2
    copy_journal(tmp_path / "data", tmp_path / "copy")
    assert names(tmp_path) == ["copy", "data"]
    with pytest.raises(Unavailable, match="isn't empty"):
        copy_journal(tmp_path / "data", tmp_path / "copy")


EMBEDDED = """
    import asyncio, os, signal
    import asyncblock

    async def main():
        async with asyncblock.embedded():
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
    """

RUNS = """
    import asyncio, os, signal
    import asyncblock

    @asyncblock.block(outputs=[])
    async def dies(inputs, ctx):
        os.kill(os.getpid(), signal.SIGKILL)

    flow = asyncblock.Flow("dies")
    flow.node(dies)
    asyncio.run(flow.run())
    """


@pytest.mark.parametrize("code", [EMBEDDED, RUNS], ids=["embedded", "Flow.run"])
async def test_the_journal_of_a_killed_process_goes_with_the_next_one(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with asyncblock.embedded():
        living = names(tmp_path)
        killed(code, TMPDIR=str(tmp_path))
        assert len(list(tmp_path.glob("*/journal.db"))) == 2
        async with asyncblock.embedded():
            assert len(list(tmp_path.glob("*/journal.db"))) == 2
        assert names(tmp_path) == living
    assert names(tmp_path) == []


def test_half_a_file_of_a_kept_frame_goes_when_nobody_writes_it_any_more(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    for name, age in (("old", 2 * 86400), ("new", 60)):
        draft = tmp_path / f".{name}.pandas.parquet.12345678"
        draft.write_bytes(b"PAR1")
        os.utime(draft, (time.time() - age,) * 2)
    dataframes.save(tmp_path, "0123.pandas", frame)
    assert names(tmp_path) == [".new.pandas.parquet.12345678", "0123.pandas.parquet"]
