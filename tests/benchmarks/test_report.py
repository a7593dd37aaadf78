from __future__ import annotations

import datetime
import importlib
import os
import select
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from benchmarks import readme, rounds
from benchmarks.__main__ import NAMES
from benchmarks.report import QUICK, Result, Row, from_json, rows, to_json
from benchmarks.rounds import NotMeasured, Subject, measure_in_turns
from benchmarks.ticker import percentile

NUMBER = Result(
    name="n",
    unit="x/s",
    asyncblock=300.0,
    rivals={"a": 100.0, "b": 0.0},
    must={"": "3x a"},
    not_shown={"c": "not here"},
)
CASES = Result(
    name="m", unit="(ms, s)", asyncblock={"p": 1.0, "q": 4.0}, rivals={"a": {"p": 2.0, "q": 2.0}, "b": {"q": 8.0}}
)


def test_a_number_has_a_ratio_for_each_rival() -> None:
    line = orjson.loads(to_json(NUMBER))
    assert (line["name"], line["unit"], line["asyncblock"]) == ("n", "x/s", 300.0)
    assert line["rivals"] == {"a": 100.0, "b": 0.0}
    assert line["ratio"]["a"] == 3.0
    assert line["conditions"]["not_shown"] == {"c": "not here"}
    assert {"python", "cores", "versions"} <= line["conditions"].keys()


def test_cases_have_a_ratio_for_each_case_that_both_have() -> None:
    assert orjson.loads(to_json(CASES))["ratio"] == {"a": {"p": 0.5, "q": 2.0}, "b": {"q": 0.5}}


def test_rows_name_case_figure_target_and_rivals() -> None:
    assert rows(NUMBER) == [Row("n", "300 x/s", "3x a", "a 100; b 0")]
    assert rows(CASES) == [Row("m p", "1 ms", "", "a 2"), Row("m q", "4 s", "", "a 2; b 8")]


def test_a_line_becomes_the_same_result_again() -> None:
    for result in (NUMBER, CASES):
        again = from_json(to_json(result))
        assert rows(again) == rows(result)
        assert again.not_shown == result.not_shown


def test_the_table_stands_between_the_markers_and_nothing_else_is_touched(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.write([NUMBER, CASES], page)
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n") and text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text and "| n | 300 x/s | 3x a | a 100; b 0 |" in text
    assert "Not shown: c (not here)." in text


def test_rows_of_what_was_not_measured_stay_and_the_line_above_says_of_which_day_the_new_ones_are(
    tmp_path: Path,
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    readme.write([NUMBER, CASES], page)
    head = page.read_text().splitlines()[1]
    for figure in (5.0, 6.0):
        readme.write([replace(CASES, asyncblock={"p": figure, "q": 4.0}), replace(NUMBER, name="new")], page)
    today = datetime.date.today().isoformat()
    assert page.read_text().splitlines()[1:-1] == [
        f"{head} m {today}. new {today}.",
        "",
        "| benchmark | asyncblock | to reach | in the same run |",
        "|---|---|---|---|",
        "| n | 300 x/s | 3x a | a 100; b 0 |",
        "| m p | 6 ms |  | a 2 |",
        "| m q | 4 s |  | a 2; b 8 |",
        "| new | 300 x/s | 3x a | a 100; b 0 |",
        "",
        "Not shown: c (not here).",
    ]
    # Where all is measured nothing is left of before.
    readme.write([CASES], page, missed={"n": "gone", "new": "gone"})
    assert page.read_text().splitlines()[1:4] == [head, "", "| benchmark | asyncblock | to reach | in the same run |"]
    assert "| n |" not in page.read_text() and "300" not in page.read_text()


def test_cases_that_belong_together_have_one_row_of_the_table() -> None:
    cases = {"preview_p50": 1.0, "age": 2.0, "first_paint": 3.0}
    page = Result(name="page", unit="(ms, ms, s)", asyncblock=cases, must={"age": "<= 5 ms"})
    assert readme.table([page]).splitlines()[4:] == [
        "| page live | preview p50 1 ms; age 2 ms | age <= 5 ms |  |",
        "| page afterwards | first paint 3 s |  |  |",
    ]


@pytest.mark.parametrize("name", readme.TOGETHER)
def test_cases_that_are_put_together_are_some_that_there_are(name: str) -> None:
    there = {case.name.replace("_", " ") for case in importlib.import_module(f"benchmarks.{name}").cases(False)}
    assert {case for group in readme.TOGETHER[name].values() for case in group} <= there


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="benchmarks: begin"):
        readme.write([NUMBER], page)


def test_short_runs_and_benchmarks_that_failed_are_named_in_the_table() -> None:
    short = replace(NUMBER, conditions={QUICK: True})
    assert "Short runs, not for figures." in readme.table([short], {"scale": "no room"})
    assert "Not shown: c (not here); scale (no room)." in readme.table([NUMBER], {"scale": "no room"})
    assert "Medians of one run." in readme.table([NUMBER])


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_what_it_measures_and_can_be_called(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__ and ": " in module.__doc__.partition("\n")[0]
    assert callable(module.measure)


def one(value: float) -> dict[str, float]:
    return {"rate": value}


def broken() -> dict[str, float]:
    raise RuntimeError("no such server (a package)")


def test_subjects_are_measured_in_processes_of_their_own_and_one_that_fails_is_named() -> None:
    here = "tests.benchmarks.test_report"
    subjects = [Subject("one", f"{here}:one", {"value": 2.0}), Subject("broken", f"{here}:broken", {})]
    measured = measure_in_turns(subjects, 2)
    assert measured.figures["one"]["rate"] == 2.0
    assert measured.figures["one"]["peak_mb"] > 1
    assert measured.failed == {"broken": "RuntimeError: no such server (a package)"}


def sometimes(file: str) -> dict[str, float]:
    """Have all figures the first time only."""
    first = not Path(file).exists()
    Path(file).touch()
    return {"always": 1.0, **({"once": 2.0} if first else {})}


def test_a_figure_that_a_round_has_not_is_left_out(tmp_path: Path) -> None:
    arguments = {"file": str(tmp_path / "measured")}
    measured = measure_in_turns([Subject("one", "tests.benchmarks.test_report:sometimes", arguments)], 2)
    assert measured.failed == {}
    assert measured.figures["one"]["always"] == 1.0
    assert "once" not in measured.figures["one"]


def test_the_figures_of_one_that_failed_say_why_there_are_none() -> None:
    measured = measure_in_turns([Subject("broken", "tests.benchmarks.test_report:broken", {})], 1)
    with pytest.raises(NotMeasured, match="broken: RuntimeError: no such server"):
        measured.figures["broken"]
    with pytest.raises(NotMeasured, match="other: it has no figures"):
        measured.figures["other"]


def hanging(fifo: str) -> dict[str, float]:
    subprocess.Popen([sys.executable, "-c", "import sys, time; open(sys.argv[1], 'w'); time.sleep(3600)", fifo])
    threading.Event().wait()
    return {}


def test_one_that_hangs_goes_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_TIMEOUT", 3.0)
    os.mkfifo(tmp_path / "fifo")
    # Its other end stays open for as long as somebody lives who has it.
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    arguments = {"fifo": str(tmp_path / "fifo")}
    measured = measure_in_turns([Subject("slow", "tests.benchmarks.test_report:hanging", arguments)], 1)
    assert measured.failed == {"slow": "no figure within 3 s"}
    poll = select.poll()
    poll.register(reader, 0)
    assert poll.poll(30_000)
    os.close(reader)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(100)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
