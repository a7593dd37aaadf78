"""What a large set would need: the page has what the sources compute, and that adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.sizing import COSTS, PAGE, Load, first_to_saturate, needs, tables

ROOT = Path(__file__).parents[2]


def amounts(load: Load) -> dict[str, float]:
    return {each.what: each.amount for each in needs(load)}


def test_the_page_has_what_is_computed() -> None:
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    shown = page.partition("<!-- sizing -->\n")[2].partition("\n<!-- /sizing -->")[0]
    assert shown == tables(PAGE), "python -m benchmarks.sizing prints it"


def test_the_figures_of_the_readme_are_those_that_stand_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"| dispatch in flight 64 | {COSTS['jobs'].value:,.0f} jobs/s |" in readme
    assert f"| memory mainframe kb per job | {COSTS['job'].value} kB |" in readme


def test_twice_the_sessions_need_twice_the_disk_and_no_more_links() -> None:
    once, twice = amounts(Load()), amounts(replace(Load(), sessions=2 * Load().sessions))
    for what in ("jobs", "journal a day", "fsyncs, commits one by one", "memory for open jobs"):
        assert twice[what] == 2 * once[what]
    for what in ("links, a websocket each", "memory for links", "websockets"):
        assert twice[what] == once[what]


def test_where_sessions_are_few_and_executors_many_links_are_used_up_first() -> None:
    assert first_to_saturate(Load()).node == "NATS server"
    assert first_to_saturate(Load(executors=100_000, sessions=1000)).what == "signs of life"
