"""Whose word an HTTP answer is: only the mainframe's own is final."""

from __future__ import annotations

import traceback

import pytest
from websockets.datastructures import Headers

import asyncblock
from asyncblock.errors import AsyncBlockError, ConnectionLost, LocalProtocolError, Rejected, Unauthorized
from asyncblock.transport.addresses import addresses_of, check_headers, headers_of, shown_url, split_address
from asyncblock.transport.upgrades import (
    OWN_HEADER,
    OWNER_HEADER,
    Answer,
    StandsBy,
    mark,
    owner_of,
    redirect_of,
    refusal,
)
from asyncblock.transport.websocket import SUBPROTOCOL

URL = "ws://mainframe.example:7788/team"
OWN = {OWN_HEADER: SUBPROTOCOL}
PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>" + b"<p>sorry</p>" * 1000


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, Headers({name.replace("_", "-"): value for name, value in headers.items()}), body)


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (answer(401, b"a valid token is needed", **OWN), Unauthorized, "refused the token: a valid token is needed"),
        (answer(403, Server="asyncblock"), Unauthorized, "refused the token: Forbidden"),
        (answer(401, PAGE, Server="nginx"), ConnectionLost, "not by the mainframe's word: 502 Bad Gateway"),
        (answer(407), ConnectionLost, "ASYNCBLOCK_HEADERS"),
        (answer(503, b"full", **OWN), ConnectionLost, "isn't accepting connections now: full"),
        (answer(502, PAGE, Content_Type="text/html"), ConnectionLost, "502 Bad Gateway"),
        (answer(404, b"nothing here"), Rejected, "Is it the right address"),
        (answer(200, b"hello"), Rejected, "does a proxy there pass websockets"),
        (answer(302, Location="http://elsewhere.example/"), Rejected, "redirects to another host"),
        (answer(404, b"there is /healthz", **OWN), Rejected, "a proxy on the way has dropped 'Upgrade: websocket'"),
        (answer(426, b"a proxy on the way has dropped it", **OWN), Rejected, "a proxy on the way has dropped it"),
        (answer(599), Rejected, "no reason given"),
    ],
)
def test_an_answer_is_final_only_by_the_mainframes_own_word(
    response: Answer, kind: type[AsyncBlockError], words: str
) -> None:
    error = refusal(URL, response, SUBPROTOCOL)
    assert type(error) is kind
    assert words in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://mainframe.example:7788/team/", "ws://mainframe.example:7788/team/"),
        ("/team/", "ws://mainframe.example:7788/team/"),
        ("ws://mainframe.example:7788/other", "ws://mainframe.example:7788/other"),
        ("https://mainframe.example:7788/team/", None),
        ("http://mainframe.example/team/", None),
        ("http://elsewhere.example:7788/team/", None),
    ],
)
def test_redirects_are_followed_on_the_same_host_only(location: str, target: str | None) -> None:
    assert redirect_of(URL, answer(301, Location=location)) == target
    assert redirect_of(URL, answer(200, Location=location)) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://me:secret@host:1/x", "wss://host:1/x"),
        ("ws://me:sec/ret@host", "ws://host"),
        ("me:secret@host:1", "host:1"),
        ("ws://host/team?key=secret", "ws://host/team?..."),
        ("ws://me:secret@[host", "ws://[host"),
        ("ws://host:1/@team", "ws://team"),
        (URL, URL),
    ],
)
def test_an_address_is_shown_without_user_password_and_query(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "ws://me:secret@host",
        "ws://secret@host",
        "me:secret@host:1",
        "//me:secret@host",
        "ws://me:sec/ret@host",
        "ws://me:secret@[host",
        "http://me:secret@host",
        "ws://host:secret@",
        "ws://",
        "host:1",
        "ws://host:x",
    ],
)
def test_what_is_no_address_of_a_mainframe_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        split_address(url)
    assert "secret" not in str(caught.value)
    assert "sec" not in str(caught.value).replace("second", "")


def test_headers_are_read_from_lines_and_a_wrong_one_is_told_without_its_value() -> None:
    assert headers_of("X-Api-Key: a:b \n\n Other:1\n") == {"X-Api-Key": "a:b", "Other": "1"}
    assert headers_of(["Cookie:a=1; b=2"]) == {"Cookie": "a=1; b=2"}
    for wrong in ("secret", "a b: secret", ": secret", "x: secret\x07", "x: secr\u00e9t", "Authorization: secret"):
        with pytest.raises(LocalProtocolError) as caught:
            headers_of(wrong)
        assert "secr" not in str(caught.value)
    for name in ("Host", "upgrade", "Sec-WebSocket-Protocol", "authorization"):
        with pytest.raises(LocalProtocolError, match=f"(?i){name}"):
            check_headers({name: "x"})
    with pytest.raises(LocalProtocolError, match="NAME: VALUE"):
        check_headers({"X": "a\r\nY: b"})


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy"])
async def test_a_proxys_password_from_the_environment_is_told_nowhere(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "carrier://me:secret@proxy.example:1")
    scheme = "wss" if name == "https_proxy" else "ws"
    with pytest.raises(AsyncBlockError) as caught:
        async with asyncblock.connect(f"{scheme}://mainframe.example", "token", timeout=2):
            pass
    assert "secret" not in "".join(traceback.format_exception(caught.value))


async def test_an_address_with_a_password_is_refused_without_saying_it() -> None:
    url = "ws://me:" + "pa55" + "word@127.0.0.1:1"
    with pytest.raises(LocalProtocolError, match="a mainframe takes a token") as caught:
        async with asyncblock.connect(url, "token"):
            pass
    assert "pa55word" not in "".join(traceback.format_exception(caught.value))


def test_an_answer_says_once_that_it_is_the_mainframes() -> None:
    headers = Headers()
    mark(headers, SUBPROTOCOL)
    mark(headers, SUBPROTOCOL)
    assert headers.get_all(OWN_HEADER) == [SUBPROTOCOL]


def test_addresses_of_a_set_are_told_from_commas_in_one() -> None:
    assert addresses_of("ws://a:1,wss://b, ws://c/x,y?z=1,2,ws://a:1") == ["ws://a:1", "wss://b", "ws://c/x,y?z=1,2"]
    assert addresses_of("ws://a:1,") == ["ws://a:1"]
    assert shown_url("ws://a?k=secret,ws://me:secret@b") == "ws://a?...,ws://b"
    for wrong in ("ws://a,http://b", "ws://a,ws://", "", ","):
        with pytest.raises(LocalProtocolError, match="is no mainframe address"):
            addresses_of(wrong)


def test_one_that_stands_by_says_who_serves() -> None:
    headers = {OWN_HEADER: SUBPROTOCOL, OWNER_HEADER: "ws://b:1"}
    found = refusal("ws://a", Answer(503, headers, b"this mainframe stands by"), SUBPROTOCOL)
    assert isinstance(found, StandsBy)
    assert found.owner == "ws://b:1"
    # What isn't an address is nobody's, and a proxy's word isn't believed.
    for nonsense in ("", "http://b", "ws://me:secret@b"):
        assert owner_of({OWNER_HEADER: nonsense}) == ""
    assert not isinstance(refusal("ws://a", Answer(503, {OWNER_HEADER: "ws://b"}, b""), SUBPROTOCOL), StandsBy)
