"""Forms of inputs whose names, defaults and types are meant to break them, and of secrets."""

from __future__ import annotations

from pathlib import Path

import asyncblock

from .served import client_of, page_of
from .test_again import bad_flow


async def test_fields_are_what_their_inputs_are_whatever_these_are_called(tmp_path: Path) -> None:
    path = bad_flow(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path)
        await session.wait()
        of, own = f"api/sessions/{session.session_id}/again", {"origin": page.url.rstrip("/")}
        fields = {each["name"]: each for each in (await client.get(of)).json()["fields"]}
        assert {name: (each["kind"], each["text"]) for name, each in fields.items()} == {
            "__proto__": ("text", "polluted"), "constructor": ("json", '"\\"><script>window.got=3</script>"'),
            "submit": ("text", "one\r\ntwo"), "<b>bold</b>": ("json", "1"), "none": ("json", '"x"'),
            "many": ("json", "1"), "file": ("file", "/tmp/a"), "key": ("secret", "apikey,mailer,token"),
            "card": ("credential", ""),
        }  # fmt: skip
        assert fields["<b>bold</b>"]["type"] == "integer or null" and fields["key"]["type"] == "oomol/secret"
        for sent in ({"__proto__": "x"}, {"key": "a,b,c"}, {"key": "${{OO_SECRET:a,b,c}}"}, {"card": None}):
            answer = await client.post(of, json=sent, headers=own)
            assert answer.status_code == 200, answer.text
            info = (await mainframe.link.read(answer.json()["session"], 0)).rows[0][1]
            assert all((value is None) or value.encode() in info[0] for value in sent.values())
        for sent, words in [
            ({"many": "1001"}, "many: "),
            ({"<b>bold</b>": "123456789012345678901"}, "<b>bold</b>: 123456789012345678901 has more than 64 bits"),
            ({"constructor": "[18446744073709551616]"}, "constructor: 18446744073709551616 has more than 64 bits"),
            ({"constructor": "[18446744073709551615, 1e400]"}, "constructor: "),
            ({"card": "apikey,a,b"}, "card: give the secret's name as ${{OO_CREDENTIAL:"),
        ]:
            answer = await client.post(of, json=sent, headers=own)
            assert answer.status_code == 400 and words in answer.json()["error"], (sent, answer.text)


async def test_a_secret_itself_is_neither_taken_nor_said_by_a_form(tmp_path: Path) -> None:
    path = bad_flow(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        # Somebody has written it on a command line, say.
        session = await mainframe.start(path, {"key": "hunter2"})
        await session.wait()
        of, own = f"api/sessions/{session.session_id}/again", {"origin": page.url.rstrip("/")}
        answer = await client.get(of)
        [field] = [each for each in answer.json()["fields"] if each["name"] == "key"]
        assert (field["text"], field["hidden"], field["long"]) == ("", True, False) and "hunter2" not in answer.text
        refused = await client.post(of, json={"key": "hunter3"}, headers=own)
        assert refused.status_code == 400 and "TYPE,NAME,KEY" in refused.text and "hunter3" not in refused.text
        assert len(await mainframe.sessions()) == 1
