"""Questions that nobody would ask, and forms that break off: words for each, and no trace of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncblock.viewer.answering import whole_number

from .served import client_of, page_of, tab_of
from .test_pagegate import made


async def test_odd_questions_get_words_and_no_trace() -> None:
    async with page_of(one=made()) as page, client_of(page) as client:
        odd: dict[str, Any] = {"at": "99999999999999999999", "from": "-1", "count": "x", "node": "n/'\"<"}
        for part in (
            "",
            "/graph",
            "/timeline",
            "/previews",
            "/log",
            "/search",
            "/failures",
            "/values",
            "/resources",
            "/outputs",
        ):
            answer = await client.get(f"api/sessions/one{part}", params=odd)
            assert answer.status_code in (200, 404), (part, answer.text)
        for path in ("api/sessions/none", "api/sessions/one/preview/77", "frame/one/77", "api/sessions/one/value/9/x"):
            answer = await client.get(path)
            assert answer.status_code == 404 and answer.json()["error"], path
        many = "9" * 5000
        for path in (
            f"api/sessions/one/preview/{many}",
            f"api/sessions/one/preview/{1 << 62}",
            f"api/sessions/one/value/{10**30}/x",
            f"frame/one/{many}",
            "frame/one/²",
            "frame/one/-1",
        ):
            assert (await client.get(path)).status_code == 404, path[:60]
        for name in ("at", "from", "count"):
            for value in ("²", "٣", many, "-1", "1e3"):
                assert (await client.get("api/sessions/one/log", params={name: value})).status_code == 200, (
                    name,
                    value,
                )
        for value in ("²,one", f"{many},one", ",", "1"):
            assert (await client.get("api/sessions", params={"before": value})).status_code == 200, value[:20]
        [preview] = (await client.get("api/sessions/one/previews")).json()["previews"]
        for part in ("²", many, "0", "0.0.0"):
            assert (await client.get(f"frame/one/{preview['place']}", params={"part": part})).status_code in (200, 404)


def test_numbers_are_those_that_journals_have() -> None:
    found = {
        text: whole_number(text) for text in ("0", "12", "", "-1", "1.0", "1e3", " 1", "²", "٣", "9" * 18, "9" * 19)
    }
    assert {text: number for text, number in found.items() if number is not None} == {
        "0": 0, "12": 12, "9" * 18: int("9" * 18)
    }  # fmt: skip


async def test_a_form_that_breaks_off_or_never_comes_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async with page_of(one=made(), token="right") as page, client_of(page) as client:
        host = page.url.removeprefix("http://").rstrip("/")
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        for path in ("/login", "/api/sessions/one/again"):
            _, writer = await asyncio.open_connection("127.0.0.1", int(host.partition(":")[2]))
            head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\ncookie: {cookies}\r\n"
            writer.write(f"{head}content-length: 1000\r\n\r\ntoken=".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            assert (await client.get("api/page")).status_code == 200
        async with tab_of(page, client) as socket:
            await socket.send(b"\x00")
            await socket.wait_closed()
        assert (await client.get("api/page")).status_code == 200
    assert not [each for each in caplog.records if each.exc_info], caplog.text
