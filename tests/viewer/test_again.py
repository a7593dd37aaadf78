"""A session is started again from the page: its form has the inputs of before, and says what doesn't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncblock

from ..flow.packages import write
from .served import client_of, page_of

FLOW = """
title: greets
inputs_def:
  - {handle: name, description: Whom., json_schema: {type: string}}
  - {handle: times, value: 2, json_schema: {type: integer}}
  - {handle: mood, json_schema: {enum: [glad, "5", 5]}, value: glad}
  - {handle: loud, nullable: true, json_schema: {type: boolean}}
  - {handle: more, nullable: true}
nodes:
  - node_id: n
    task:
      executor: {name: python, options: {entry: main.py}}
      inputs_def: [{handle: name}, {handle: times}, {handle: mood}, {handle: loud}, {handle: more}]
      outputs_def: [{handle: out}]
    inputs_from:
      - {handle: name, from_flow: [{input_handle: name}]}
      - {handle: times, from_flow: [{input_handle: times}]}
      - {handle: mood, from_flow: [{input_handle: mood}]}
      - {handle: loud, from_flow: [{input_handle: loud}]}
      - {handle: more, from_flow: [{input_handle: more}]}
outputs_def: [{handle: out}]
outputs_from:
  - {handle: out, from_node: [{node_id: n, output_handle: out}]}
"""


def greets(directory: Path) -> Path:
    """A flow with an input of each kind, which puts its inputs out."""
    write(directory / "package.oo.yaml", "name: greets\n")
    write(directory / "flow.oo.yaml", FLOW)
    write(directory / "main.py", "def main(inputs, ctx):\n    return {'out': dict(inputs)}\n")
    return directory / "flow.oo.yaml"


async def test_a_form_has_the_inputs_of_before_and_starts_the_same_version(tmp_path: Path) -> None:
    path = greets(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        first = await mainframe.start(path, {"name": "Zoë", "more": {"a": [1, None]}}, metadata={"user": "u-1"})
        before = await first.outputs()
        of = f"api/sessions/{first.session_id}/again"
        fields = {each["name"]: each for each in (await client.get(of)).json()["fields"]}
        assert {name: (each["kind"], each["text"]) for name, each in fields.items()} == {
            "name": ("text", "Zoë"), "times": ("number", "2"), "mood": ("choice", '"glad"'), "loud": ("choice", ""),
            "more": ("json", '{"a": [1, null]}'),
        }  # fmt: skip
        assert fields["name"]["about"] == "Whom." and fields["mood"]["choices"] == ['"glad"', '"5"', "5"]
        assert (fields["name"]["optional"], fields["loud"]["optional"]) == (False, True)

        # Its flow is gone meanwhile: what ran is in the journal.
        path.write_text("nodes: [")
        own = {"origin": page.url.rstrip("/")}

        async def again(sent: Any) -> dict[str, Any]:
            answer = await client.post(of, json=sent, headers=own)
            assert answer.status_code == 200, answer.text
            session = mainframe.session(answer.json()["session"])
            out: dict[str, Any] = (await session.outputs())["out"]
            assert (await session.info()).title == "greets"
            return out

        assert await again({}) == before["out"]
        sent = {"name": "[not JSON", "times": "3", "mood": "5", "loud": "true", "more": "[1]"}
        assert await again(sent) == {"name": "[not JSON", "times": 3, "mood": 5, "loud": True, "more": [1]}
        assert await again({"more": None, "times": None}) == {**before["out"], "more": None}


async def test_what_doesnt_fit_is_said_by_field_and_starts_nothing(tmp_path: Path) -> None:
    path = greets(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path, {"name": "Zoë"})
        await session.wait()
        of, own = f"api/sessions/{session.session_id}/again", {"origin": page.url.rstrip("/")}
        for sent, words in [
            ({"times": "many"}, "times: 'many' is no JSON"),
            ({"times": "2.5"}, "times: "),
            ({"times": 3}, "times: a field sends a text"),
            ({"mood": '"sad"'}, "mood: "),
            ({"nme": "x"}, "nme: the flow has no such input"),
            ({"name": None}, "'name' is required"),
            ({"more": "NaN"}, "more: "),
            ({"more": "[" * 5000}, "more: "),
            (["name"], "a form is an object"),
        ]:
            answer = await client.post(of, json=sent, headers=own)
            assert answer.status_code == 400 and words in answer.json()["error"], (sent, answer.text)
        assert (await client.post(of, content=b"{", headers=own)).status_code == 400
        assert (await client.post(of, content=b'"' + b"x" * (5 << 20) + b'"', headers=own)).status_code == 400
        assert (await client.post(of, json={})).status_code == 403, "another page's form"
        assert [each.session_id for each in await mainframe.sessions()] == [session.session_id]


async def test_a_long_value_stays_as_it_was_without_being_sent(tmp_path: Path) -> None:
    path = greets(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        session = await mainframe.start(path, {"name": "x" * 200_000})
        await session.wait()
        of = f"api/sessions/{session.session_id}/again"
        field = (await client.get(of)).json()["fields"][0]
        assert (field["long"], field["size"], field["text"]) == (True, 200_000, "")
        answer = await client.post(of, json={}, headers={"origin": page.url.rstrip("/")})
        out = await mainframe.session(answer.json()["session"]).outputs()
        assert len(out["out"]["name"]) == 200_000


HOSTILE = """
title: '</title><script>window.got=1</script>'
inputs_def:
  - {handle: __proto__, value: polluted, json_schema: {type: string}}
  - {handle: constructor, description: '<img src=x onerror="window.got=2">', value: '"><script>window.got=3</script>'}
  - {handle: submit, value: "one\\r\\ntwo", json_schema: {type: string}}
  - {handle: '<b>bold</b>', value: 1, json_schema: {type: [integer, "null"]}}
  - {handle: none, value: x, json_schema: {enum: []}}
  - {handle: many, value: 1, json_schema: {enum: MANY}}
  - {handle: file, value: /tmp/a, json_schema: {type: string, "ui:widget": file}}
  - {handle: key, value: "apikey,mailer,token", json_schema: {contentMediaType: oomol/secret}}
  - {handle: card, nullable: true, json_schema: {contentMediaType: oomol/credential}}
nodes:
  - node_id: n
    task:
      executor: {name: python, options: {entry: main.py}}
      inputs_def: [{handle: all}]
      outputs_def: [{handle: out}]
    inputs_from: [{handle: all, value: 1}]
"""


def bad_flow(directory: Path) -> Path:
    """A flow whose names, defaults and words are meant to break out of a form."""
    write(directory / "package.oo.yaml", "name: hostile\n")
    write(directory / "flow.oo.yaml", HOSTILE.replace("MANY", str(list(range(1001)))))
    write(directory / "main.py", "def main(inputs, ctx):\n    return {'out': 1}\n")
    return directory / "flow.oo.yaml"
