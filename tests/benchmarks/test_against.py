from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import against, history, readme
from benchmarks.__main__ import NAMES, main
from benchmarks.against import Limits, Sides, compare
from benchmarks.builds import ROOT, BuildError, built, cache_directory, commit_of, fingerprint, source
from benchmarks.report import Against, Result, from_json, rows, to_json
from benchmarks.rounds import Case, Subject
from tests.processes import all_ended, start_module

PROJECT = """[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "asyncblock"
version = "0.0.1"
dependencies = ["orjson>=3.10.15"]

[project.optional-dependencies]
cli = []

[tool.hatch.build.targets.wheel]
packages = ["asyncblock"]
"""
SLOW = "import time\nuntil = time.perf_counter() + 0.05\nwhile time.perf_counter() < until: pass\n"
"""A package whose import takes 50 ms."""

FOUND = Against(
    ref="main",
    commit="c" * 40,
    figure={"p": 2.0, "q": 4.0},
    ratio={"p": 1.5, "q": 0.99},
    interval={"p": (1.48, 1.52), "q": (0.93, 1.05)},
    rounds={"p": 8, "q": 60},
    within=0.02,
    notes=["orjson: 3.10.15 there, 3.11.0 here"],
)
CASES = Result(name="m", unit="(ms, s)", asyncblock={"p": 1.0, "q": 4.0}, against=FOUND)

BESIDE_HEAD = ["flow", "--case", "nodes", "--ours", "--quick", "--json", "--against", "HEAD"]
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the sources of a release have no commits")


def git(repository: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", repository, *who, *arguments], check=True, capture_output=True)


def make_repository(place: Path) -> Path:
    """Make a repository with a small package: quick to import in its commit, slow in its working tree."""
    (place / "asyncblock").mkdir(parents=True)
    (place / "pyproject.toml").write_text(PROJECT)
    (place / "asyncblock" / "__init__.py").write_text('NAME = "first"\n')
    git(place, "init", "--quiet")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message", "First")
    (place / "asyncblock" / "__init__.py").write_text(SLOW)
    return place


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(place))
        yield place


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("repository") / "r")


@pytest.fixture(scope="module")
def both(repository: Path, cache: Path) -> Iterator[Sides]:
    with against.sides("HEAD", [], repository) as made:
        yield made


def importing(name: str = "") -> Case:
    subject = Subject("import", "benchmarks.startup:importing", {"module": "asyncblock", "times": 2})
    return Case(name, subject, "ms", "ms")


@pytest.mark.timeout(600)
def test_each_side_has_its_own_package_and_a_slower_one_has_a_ratio_that_says_so(both: Sides) -> None:
    found = compare("startup", [importing()], both, Limits(within=0.9, rounds=8))
    assert found.against is not None and not found.missing and not found.broken
    assert found.ours[""] > 50 > found.against.figure[""]
    low, high = found.against.interval[""]
    assert low < found.against.ratio[""] < high < 0.9
    assert found.against.rounds == {"": 8}
    assert found.against.commit == both.commit


@pytest.mark.timeout(600)
def test_a_narrow_interval_ends_the_rounds_and_a_wide_one_is_measured_until_a_limit(
    both: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = compare("startup", [importing()], both, Limits(within=1e-6, rounds=10)).against
    assert wide is not None and wide.rounds == {"": 10} and "wider than" in wide.said("")
    assert "more for 1e-06" in capsys.readouterr().err
    over = compare("startup", [importing()], both, Limits(within=1e-6, seconds=0)).against
    assert over is not None and over.rounds == {"": 6}


@pytest.mark.timeout(600)
def test_what_a_build_cannot_run_is_said(both: Sides) -> None:
    needs_flows = Case(
        "steps", Subject("machine", "benchmarks.flow:machine", {"steps": 10, "queued": 10}), "steps", "/s"
    )
    found = compare("flow", [needs_flows, importing("import")], both, Limits(within=0.9, rounds=6))
    assert "cannot import name" in found.missing["steps"] and not found.broken
    assert found.against is not None and set(found.against.ratio) == {"import"}


@pytest.mark.timeout(600)
def test_a_figure_of_zero_has_no_ratio(both: Sides) -> None:
    none = Case("none", importing().subject, "zero", "ms")
    with pytest.MonkeyPatch.context() as patch:
        run = Subject.run
        patch.setattr(Subject, "run", lambda self, side: {**run(self, side), "zero": 0.0})
        found = compare("startup", [none], both, Limits(rounds=6))
    assert found.against is None and "no ratio" in found.missing["none"]


@pytest.mark.timeout(600)
def test_a_second_run_builds_nothing(both: Sides, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with against.sides("HEAD", [], repository) as again:
        assert (again.theirs.python, again.ours.python) == (both.theirs.python, both.ours.python)
    assert "building" not in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_equal_packages_share_a_build_and_it_is_said(both: Sides, repository: Path) -> None:
    git(repository, "commit", "--quiet", "--all", "--message", "Second")
    with against.sides("HEAD", [], repository) as same:
        assert same.theirs.python == same.ours.python
        assert any("same package" in note for note in same.notes)
    assert commit_of("HEAD", repository) == same.commit != both.commit


def test_a_package_that_cannot_be_built_leaves_nothing_and_the_error_says_what_pip_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pyproject.toml").write_text("[project\n")
    with pytest.raises(BuildError, match="old can't be built: pip couldn't install it: "):
        with built("old", tmp_path / "source", ["cli"]):
            pass
    assert list(cache_directory().iterdir()) == []


def test_the_working_tree_is_what_is_not_ignored(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    (repository / ".gitignore").write_text("*.pyc\n")
    (repository / "asyncblock" / "new.py").write_text("")
    (repository / "asyncblock" / "new.pyc").write_text("")
    with source(None, repository) as now, source(commit_of("HEAD", repository), repository) as committed:
        assert {path.name for path in (now / "asyncblock").iterdir()} == {"__init__.py", "new.py"}
        assert (committed / "asyncblock" / "__init__.py").read_text() == 'NAME = "first"\n'
        assert fingerprint(now) != fingerprint(committed)


def test_history_wants_a_commit(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    with pytest.raises(BuildError, match="commit first"):
        history.landed(repository)
    git(repository, "commit", "--quiet", "--all", "--message", "Second")
    (repository / "README.md").write_text("prose is no part of a build\n")
    assert history.landed(repository) == commit_of("HEAD", repository)


def test_history_gains_a_line_for_each_figure_that_changed(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text('{"earlier": 1}\n')
    assert history.append([CASES, replace(CASES, name="n", against=None)], "d" * 40, file) == ["m p"]
    earlier, line = map(orjson.loads, file.read_bytes().splitlines())
    assert earlier == {"earlier": 1}
    machine = line.pop("machine")
    assert machine["python_ms"] > 0 and machine["commit_ms"] > 0 and "cores" in machine
    assert line.pop("date")
    assert line == {
        "commit": "d" * 40,
        "against": "c" * 40,
        "figure": "m p",
        "ratio": 1.5,
        "interval": [1.48, 1.52],
        "rounds": 8,
    }


def test_a_line_has_the_other_builds_figure_and_the_ratio_with_its_interval() -> None:
    line = orjson.loads(to_json(CASES))["against"]
    assert (line["ref"], line["figure"], line["ratio"]) == ("main", {"p": 2.0, "q": 4.0}, {"p": 1.5, "q": 0.99})
    assert (line["interval"], line["rounds"]) == ({"p": [1.48, 1.52], "q": [0.93, 1.05]}, {"p": 8, "q": 60})
    one: dict[str, Any] = {name: {"": getattr(FOUND, name)["p"]} for name in ("figure", "ratio", "interval", "rounds")}
    single = replace(CASES, unit="ms", asyncblock=1.0, against=replace(FOUND, **one))
    line = orjson.loads(to_json(single))["against"]
    assert (line["figure"], line["ratio"], line["interval"], line["rounds"]) == (2.0, 1.5, [1.48, 1.52], 8)
    for result in (CASES, single):
        assert from_json(to_json(result)).against == result.against


def test_rows_and_the_table_show_the_ratio_and_say_where_it_is_wider_than_was_asked() -> None:
    p, q = rows(CASES)
    assert p.against == "1.500x of main (1.480 to 1.520 in 8 rounds)"
    assert q.against == "0.990x of main (0.930 to 1.050 in 60 rounds: wider than 0.02)"
    table = readme.table([CASES])
    assert "| in the same run | against |" in table and f"|  |  | {p.against} |" in table
    assert "against" not in readme.table([replace(CASES, against=None)])
    # One figure is shown, of two that were compared.
    [row] = rows(replace(CASES, unit="ms", asyncblock=1.0))
    assert row.against == f"p: {p.against}; q: {q.against}"


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_names_its_cases(name: str) -> None:
    module = __import__(f"benchmarks.{name}", fromlist=["cases"])
    for quick in (True, False):
        cases = module.cases(quick)
        assert cases and len({case.name for case in cases}) == len(cases)
        assert not any(case.subject.rival for case in cases)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["latency", "--against", "no-such-ref"], "'no-such-ref' names no commit of the repository at"),
        (["latency", "--against", "--upload-pack=x"], "expected one argument"),
        (["latency", "--ours"], "belong to --against"),
        (["--against", "HEAD"], "name some"),
        (["latency", "--full"], "--full is for a whole measurement of page"),
        (["page", "--full", "--quick"], "without --quick"),
        (["stall", "--against", "HEAD", "--case", "plolty"], "no case has 'plolty' in its name; there are figure"),
        (["latency", "--against", "HEAD", "--within", "200%"], "invalid"),
        (["latency", "--against", "HEAD", "--history", "--quick"], "not those of --quick"),
    ],
)
def test_what_cannot_be_done_is_told_at_once(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def beside_head(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    place = tmp_path_factory.mktemp("t")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *BESIDE_HEAD],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(place)},
    )
    return done, place


@needs_git
@pytest.mark.timeout(600)
def test_a_benchmark_runs_beside_a_commit(beside_head: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, place = beside_head
    assert done.returncode == 0, done.stderr
    line = orjson.loads(done.stdout)
    assert line["name"] == "flow" and set(line["asyncblock"]) == {"nodes"}
    found = line["against"]
    low, high = found["interval"]["nodes"]
    assert found["ref"] == "HEAD" and low <= found["ratio"]["nodes"] <= high and found["rounds"] == {"nodes": 6}
    assert list(place.iterdir()) == []


@needs_git
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_one_that_is_interrupted_takes_its_processes_and_directories_along(
    number: int, code: int, beside_head: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path
) -> None:
    place = tmp_path / "t"
    place.mkdir()
    async with start_module("benchmarks", *BESIDE_HEAD, state=tmp_path, TMPDIR=str(place)) as command:
        await command.until_line("== flow", err=True)
        async with asyncio.timeout(30):
            # Itself, the process that measures, and that one's mainframe.
            while len(running := command.family()) < 3:  # noqa: ASYNC110  # the kernel tells nobody of it
                await asyncio.sleep(0.01)
        command.kill(number)
        assert await command.wait() == code
        await all_ended(running)
        assert command.family() == [] and list(place.iterdir()) == []
        assert "Traceback" not in "".join(command.err)
