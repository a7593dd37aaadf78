"""What has failed is run again from there by the page, and what was killed is gone on with."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.client import SessionInfo
from asyncblock.viewer import Sources, Watched, serving
from asyncblock.viewer.onwards import EditedCode

from ..browser import open_browser
from ..cli.test_paging import address_of, into, waits
from ..cli.test_resume import killed_in_b, three_steps
from ..flows import node, write_flow
from ..processes import start
from ..report.made import Made
from .served import browse, client_of, page_of, until
from .test_for_everybody import NAMELESS, PALE, seen_by

pytestmark = pytest.mark.timeout(240)  # a browser has to start, and commands

FIRST = """
import pathlib
async def main(inputs, ctx):
    with pathlib.Path(HERE, "ran").open("a") as ran:
        ran.write("first\\n")
    return {"out": 20}
"""
SECOND = """
import pathlib
async def main(inputs, ctx):
    if not pathlib.Path(HERE, "mended").exists():
        raise ValueError("<b>broken</b>")
    return {"out": inputs["in"] + 1}
"""


def fails_once(directory: Path) -> Path:
    """Write a flow whose second node fails until there is a file."""
    here = repr(str(directory))
    froms = [{"handle": "in", "from_node": [{"node_id": "first", "output_handle": "out"}]}]
    nodes = [
        node("first", FIRST.replace("HERE", here), directory / "f"),
        node("second", SECOND.replace("HERE", here), directory / "f", inputs=[{"handle": "in"}], inputs_from=froms),
    ]
    outputs = [{"handle": "out", "from_node": [{"node_id": "second", "output_handle": "out"}]}]
    return write_flow(directory / "f", nodes, outputs_from=outputs)


async def test_a_mainframes_session_is_retried_and_says_before_what_runs_again(tmp_path: Path) -> None:
    path = fails_once(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path)
        assert (await session.wait()).state == "failed"
        of = f"api/sessions/{session.session_id}/retry"
        own = {"origin": page.url.rstrip("/")}
        told = (await client.get(of)).json()
        assert told["kept"] == ["first"] and list(told["again"]) == ["second"], told
        assert len(await mainframe.sessions()) == 1, "looking begins nothing"
        (tmp_path / "mended").touch()
        answer = await client.post(of, headers=own)
        assert answer.status_code == 200, answer.text
        retried = mainframe.session(answer.json()["session"])
        assert await retried.outputs() == {"out": 21}
        assert (tmp_path / "ran").read_text() == "first\n", "what had finished didn't run again"
        refused = await client.post(f"api/sessions/{retried.session_id}/retry", headers=own)
        assert refused.status_code == 409 and "succeeded" in refused.json()["error"]
        resumed = await client.post(f"api/sessions/{session.session_id}/resume", headers=own)
        assert resumed.status_code == 403, "a mainframe goes on with its sessions by itself"
        path.unlink()
        gone = await client.get(of)
        assert gone.status_code == 400 and "flow.oo.yaml" in gone.json()["error"]


class _Killed:
    """A run on this machine that was killed, and on which the page could go on."""

    def __init__(self, did: list[str]) -> None:
        self._did = did

    async def sessions(self) -> list[SessionInfo]:
        """List it."""
        return [SessionInfo("one", "One", "", "interrupted", 1, None, None, 0)]

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[Watched]:
        """Open it."""
        made = Made("a")
        recording = made.recording()
        recording.interrupted = True

        async def cancel(reason: str) -> None:
            self._did.append("cancel")

        yield Watched(recording, cancel, resume=_Resumes(self._did))


class _Resumes:
    """Notes that it was gone on with."""

    def __init__(self, did: list[str]) -> None:
        self._did = did

    async def edited(self) -> list[EditedCode]:
        """Return one that was edited."""
        return [EditedCode("p", "b" * 40, "c" * 40)]

    async def resume(self, accept: Sequence[str] = ()) -> None:
        """Go on."""
        self._did.append(" ".join(["resume", *accept]))


async def test_an_observers_token_changes_no_local_run_either() -> None:
    async def order(role: str) -> tuple[dict[str, int], list[str]]:
        did: list[str] = []
        sources = Sources(mainframe, _Killed(did), roles=frozenset({role}))
        async with serving(sources, port=0) as page, client_of(page) as client:
            own = {"origin": page.url.rstrip("/")}
            orders = ("cancel", "resume", "retry", "again")
            answers = {each: await client.post(f"api/sessions/one/{each}", json={}, headers=own) for each in orders}
        return {each: answer.status_code for each, answer in answers.items()}, did

    async with asyncblock.embedded() as mainframe:
        assert await order("observer") == ({"cancel": 403, "resume": 403, "retry": 403, "again": 403}, [])
        assert await order("client") == (
            {"cancel": 200, "resume": 200, "retry": 403, "again": 403},
            ["cancel", "resume"],
        )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


async def test_a_killed_run_is_resumed_and_then_retried_by_buttons(browser: Any, tmp_path: Path) -> None:
    async with start("run", waits(tmp_path), state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        running.kill(signal.SIGKILL)
        await running.process.wait()
    (tmp_path / "end").touch()
    async with start("page", session_id, "--no-browser", state=tmp_path) as page:
        address = (await page.until_line("page: ")).split()[1]

        def look() -> str:
            browser.get(address)
            until(browser, "document.querySelector('.head .pill')?.innerText === 'interrupted'")
            until(browser, "document.querySelector('.head button.resume').checkVisibility()")
            assert not browser.find_element("css selector", ".head button.retry").is_displayed()
            assert browser.execute_script(NAMELESS) == []
            browser.find_element("css selector", ".head button.resume").click()
            # This tab follows it by itself to where it goes on.
            until(browser, "document.querySelector('.head .pill').innerText === 'failed'")
            until(browser, "document.querySelector('.head button.retry').checkVisibility()")
            assert not browser.find_element("css selector", ".head button.resume").is_displayed()
            browser.find_element("css selector", ".head button.retry").click()
            until(browser, "document.activeElement.innerText === 'Retry'")
            told = browser.find_element("css selector", "dialog.retry .fields").text
            assert "Stays: nothing" in told and "runs again: it hadn't finished" in told, told
            for scheme in ("dark", "light"):
                seen_by(browser, scheme)
                assert browser.execute_script(PALE) == []
            browser.switch_to.active_element.click()
            until(browser, f"!document.querySelector('dialog') && !location.hash.includes('{session_id}')")
            until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
            return str(browser.execute_script("return location.hash.split('/')[2]"))

        assert await browse(look) != session_id


async def test_a_retry_tells_in_texts_what_runs_again_and_why(browser: Any, tmp_path: Path) -> None:
    path = fails_once(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path)
        await session.wait()
        (tmp_path / "mended").touch()

        def look() -> None:
            browser.get(page.way_in(session.session_id))
            until(browser, "document.querySelector('.head button.retry')?.checkVisibility()")
            browser.find_element("css selector", ".head button.retry").click()
            until(browser, "document.querySelector('dialog.retry .fields').innerText.includes('second runs again')")
            cut = "[...document.querySelectorAll('dialog *')].filter((it) => it.scrollWidth > it.clientWidth + 1 && it.clientWidth)"
            assert browser.execute_script(f"return {cut}.map((it) => it.outerHTML)") == [], "all of it is to be read"
            assert "Stays: first" in browser.find_element("css selector", "dialog.retry .fields").text
            browser.find_element("css selector", "dialog.retry button.main").click()
            until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
            assert not browser.find_element("css selector", ".head button.retry").is_displayed()

        await browse(look)


async def test_what_a_local_run_keeps_is_told_before_it_is_retried_and_looking_changes_nothing(tmp_path: Path) -> None:
    path = fails_once(tmp_path)
    async with start("run", path, state=tmp_path) as run:
        await run.wait()
        session_id = run.out[0].split()[1].rstrip(":")
    [journal] = tmp_path.rglob("journal.db")
    before = journal.read_bytes()
    async with start("page", session_id, "--no-browser", state=tmp_path) as page:
        async with into(await address_of(page)) as client:
            of, own = f"api/sessions/{session_id}/retry", {"origin": str(client.base_url).rstrip("/")}
            for _ in range(2):
                told = (await client.get(of)).json()
                assert told["kept"] == ["first"] and "ValueError" not in told["again"]["second"], told
                assert list(told["again"]) == ["second"]
            assert journal.read_bytes() == before
            (tmp_path / "f" / "first.py").write_text("async def main(inputs, ctx):\n    return {'out': 1}\n")
            told = (await client.get(of)).json()
            assert told["kept"] == [] and list(told["again"]) == ["first", "second"], told
            path.unlink()
            refused = await client.get(of)
            assert refused.status_code == 400 and "flow.oo.yaml" in refused.json()["error"]
            assert (await client.post(f"{of.removesuffix('retry')}resume", headers=own)).status_code == 409


async def test_a_run_whose_code_was_edited_is_resumed_after_that_was_accepted(browser: Any, tmp_path: Path) -> None:
    session_id, _ = await killed_in_b(three_steps(tmp_path / "f", retries=1), tmp_path)
    (tmp_path / "go").touch()
    (tmp_path / "f" / "c.py").write_text("def main(inputs, ctx):\n    return {'out': '<b>edited</b>'}\n")
    async with start("page", session_id, "--no-browser", state=tmp_path) as page:
        address = await address_of(page)

        def look() -> None:
            browser.get(address)
            until(browser, "document.querySelector('.head button.resume')?.checkVisibility()")
            browser.find_element("css selector", ".head button.resume").click()
            until(
                browser,
                "document.activeElement.closest('dialog.accept') && document.activeElement.tagName === 'BUTTON'",
            )
            for scheme in ("dark", "light"):
                seen_by(browser, scheme)
                assert browser.execute_script(PALE) == []
            assert browser.execute_script(NAMELESS) == []
            assert "began with" in browser.find_element("css selector", "dialog.accept .fields").text
            browser.switch_to.active_element.send_keys("\n")
            until(browser, "document.querySelector('.head .pill').innerText === 'succeeded'")
            assert browser.find_elements("css selector", "dialog") == []
            browser.execute_script("location.hash = arguments[0]", f"#/s/{session_id}/outputs")
            until(browser, "document.querySelector('.part section')?.innerText.includes('<b>edited</b>')")

        await browse(look)


async def test_only_what_was_edited_is_accepted() -> None:
    did: list[str] = []
    sources = Sources(None, _Killed(did), roles=frozenset({"client"}))
    async with serving(sources, port=0) as page, client_of(page) as client:
        of, own = "api/sessions/one/resume", {"origin": page.url.rstrip("/")}
        assert (await client.get(of)).json()["edited"] == [{"package": "p", "version": "b" * 40, "now": "c" * 40}]
        assert (await client.post(f"{of}?accept=any", headers=own)).status_code == 409 and not did
        assert (await client.post(f"{of}?accept={'b' * 40}", headers=own)).status_code == 200
    assert did == ["resume " + "b" * 40]
