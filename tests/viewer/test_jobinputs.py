"""What jobs were given is told with its type and where it came from, whatever of it is in which row, and as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.errors import Unavailable
from asyncblock.flow.plan import Plan
from asyncblock.viewer.jobinputs import inputs_of

from ..browser import open_browser
from ..cli.test_paging import address_of, into, state_of
from ..flows import node, write_flow
from ..processes import run, start
from .served import browse, client_of, page_of, until
from .test_browser import go

pytestmark = pytest.mark.timeout(240)  # a browser has to start, and commands

FIRST = """
async def main(inputs, ctx):
    for number in range(5):
        await ctx.output("x" * 300_000, "large")
        await ctx.output(b"\\x00\\xff" * 60_000, "raw")
        await ctx.output(number, "small")
"""
SECOND = "async def main(inputs, ctx):\n    return {'out': 1}\n"

GIVEN = ("large", "raw", "small", "asked", "fixed", "secret")


def takes_all(directory: Path) -> Path:
    """Write a flow whose second node takes an input from each place that one can come from."""

    def from_first(name: str) -> dict[str, Any]:
        return {"handle": name, "from_node": [{"node_id": "first", "output_handle": name}]}

    def typed(name: str, **schema: Any) -> dict[str, Any]:
        return {"handle": name, "json_schema": schema} if schema else {"handle": name}

    kinds: dict[str, dict[str, Any]] = {
        "large": {"type": "string"},
        "raw": {"contentMediaType": "oomol/bin"},
        "small": {"type": "integer"},
        "secret": {"contentMediaType": "oomol/secret"},
    }
    froms: list[dict[str, Any]] = [
        from_first("large"), from_first("raw"), from_first("small"),
        {"handle": "asked", "from_flow": [{"input_handle": "whom"}]},
        {"handle": "fixed", "value": {"a": [1, "<b>two</b>"]}},
        {"handle": "secret", "value": "hunter2"},
    ]  # fmt: skip
    second = [typed(name, **kinds.get(name, {})) for name in GIVEN]
    nodes = [
        node("first", FIRST, directory, outputs=["large", typed("raw", **kinds["raw"]), "small"]),
        node("second", SECOND, directory, inputs=second, inputs_from=froms),
        node("each", SECOND, directory, inputs=[typed("small")], inputs_from=[from_first("small")]),
    ]
    return write_flow(directory, nodes, inputs_def=[{"handle": "whom"}])


def checked(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check what is told of the second node's job; return it by input."""
    [job] = answer["jobs"]
    last = {each["handle"]: each for each in job["inputs"]}
    assert {name: (each["type"], each["declared"], each["source"]) for name, each in last.items()} == {
        "large": ("JSON", "string", "first.large"),
        "raw": ("bytes", "oomol/bin", "first.raw"),
        "small": ("number", "integer", "first.small"),
        "asked": ("object", "", "the flow's input whom"),
        "fixed": ("object", "", "written in the flow"),
        "secret": ("secret", "oomol/secret", "written in the flow"),
    }
    assert (last["large"]["text"], last["large"]["size"], last["raw"]["size"]) == (None, 300_002, 120_000)
    assert last["asked"]["text"] == '{\n  "user": "Zoë"\n}' and last["secret"]["hidden"]
    assert "hunter2" not in str(answer)
    return last


async def test_inputs_are_told_wherever_they_come_from_and_large_ones_are_files(tmp_path: Path) -> None:
    path = takes_all(tmp_path / "f")
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path, {"whom": {"user": "Zoë"}})
        assert (await session.wait()).state == "succeeded"
        of = f"api/sessions/{session.session_id}"
        answer = (await client.get(f"{of}/inputs", params={"node": "second"})).json()
        checked(answer)
        place = answer["jobs"][0]["place"]
        large = await client.get(f"{of}/input/{place}/large")
        assert large.json() == "x" * 300_000
        assert large.headers["content-disposition"] == 'attachment; filename="large.json"'
        assert (await client.get(f"{of}/input/{place}/raw")).content == b"\x00\xff" * 60_000
        for wrong in (f"{place}/secret", f"{place}/none", "12/large", f"{int(place) + 1}/large", "x/large"):
            assert (await client.get(f"{of}/input/{wrong}")).status_code == 404, wrong
        # At an earlier moment there were fewer jobs, or none.
        then = {"node": "second", "at": "0"}
        assert (await client.get(f"{of}/inputs", params=then)).json() == {"jobs": []}
        assert (await client.get(f"{of}/inputs", params={"node": "nobody"})).json() == {"jobs": []}
        each = (await client.get(f"{of}/inputs", params={"node": "each"})).json()["jobs"]
        assert [job["inputs"][0]["text"] for job in each] == ["4", "3", "2"], "three of its five jobs"
        one = (await client.get(f"{of}/inputs", params={"node": "each", "count": 1})).json()["jobs"]
        assert one == each[:1]
        first = (await client.get(f"{of}/inputs", params={"node": "first"})).json()["jobs"]
        assert [each["inputs"] for each in first] == [[]]


async def test_inputs_of_a_local_run_are_read_from_its_journal(tmp_path: Path) -> None:
    path = takes_all(tmp_path / "f")
    ran = await run("run", path, "--input", 'whom={"user": "Zoë"}', state=tmp_path)
    assert ran.process.returncode == 0
    session_id = ran.out[0].split()[1].rstrip(":")
    async with (
        start("page", session_id, "--no-browser", state=tmp_path) as page,
        into(await address_of(page)) as client,
    ):
        await state_of(client, session_id, "succeeded")
        answer = (await client.get(f"api/sessions/{session_id}/inputs", params={"node": "second"})).json()
        checked(answer)
        place = answer["jobs"][0]["place"]
        large = await client.get(f"api/sessions/{session_id}/input/{place}/large")
        assert large.json() == "x" * 300_000


async def test_rows_that_dont_say_it_are_an_error_in_words() -> None:
    async def row(offset: int) -> list[bytes]:
        return [b'{"type":"JobCreated","job_id":"j","node_id":"n","stacks":[],"inputs":{"in":["record",7,3,0,"out"]}}']

    for job, words in (("k", "doesn't begin job k"), ("j", "input 'in' isn't where")):
        with pytest.raises(Unavailable, match=words):
            await inputs_of(row, Plan("made", None, ()), 0, job)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


async def test_a_nodes_panel_shows_what_its_jobs_were_given_and_put_out(browser: Any, tmp_path: Path) -> None:
    path = takes_all(tmp_path / "f")
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path, {"whom": '<img src=x onerror="window.got=1">'})
        await session.wait()

        def look() -> None:
            browser.get(page.way_in(session.session_id))
            until(browser, "document.querySelectorAll('g[data-node]').length === 3")
            shown = (
                "[...document.querySelectorAll('.panel section')].map((each) => each.getAttribute('aria-label')).join()"
            )
            go(browser, f"#/s/{session.session_id}/graph?node=second&tab=values", f"{shown} === 'Inputs,Values'")
            until(browser, "document.querySelectorAll('.panel section[aria-label=Inputs] details').length === 1")
            until(
                browser, "document.querySelector('.panel section[aria-label=Values] h4')?.innerText.startsWith('out')"
            )
            told = browser.find_element("css selector", ".panel section[aria-label=Inputs]").text
            for words in ("large string", "from first.large", '<img src=x onerror="window.got=1">', "<b>two</b>"):
                assert words in told.replace('\\"', '"'), told
            assert "hunter2" not in told and "isn't shown" in told
            assert browser.execute_script("return window.got") is None
            link = "document.querySelector('.panel section[aria-label=Inputs] .handle a[download]')"
            length = (
                f"const done = arguments[0]; fetch({link}.href).then((it) => it.json()).then((it) => done(it.length))"
            )
            assert browser.execute_async_script(length) == 300_000

        await browse(look)
