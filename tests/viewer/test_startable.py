"""Flows are started from the page that have never run: those that come with asyncblock, and those it was given."""

from __future__ import annotations

from pathlib import Path

import asyncblock
from asyncblock.viewer import Sources, serving

from ..flow.packages import write
from .served import client_of, page_of
from .test_again import bad_flow, greets


async def test_a_flow_that_was_given_is_started_by_a_form_of_its_handles(tmp_path: Path) -> None:
    greets(tmp_path / "flows" / "greets")
    bad_flow(tmp_path / "flows" / "hostile")
    write(tmp_path / "flows" / "broken" / "package.oo.yaml", "name: broken\n")
    write(tmp_path / "flows" / "broken" / "flows" / "b" / "flow.oo.yaml", "nodes: [")
    async with asyncblock.embedded() as mainframe:
        sources = Sources(mainframe, roles=frozenset({"client"}), flows=[tmp_path / "flows"])
        async with serving(sources, port=0) as page, client_of(page) as client:
            own = {"origin": page.url.rstrip("/")}
            listed = (await client.get("api/flows")).json()["flows"]
            assert [each["title"] for each in listed[:3]] == ["b", "greets", "</title><script>window.got=1</script>"]
            assert {"example stocks", "example gallery"} <= {each["place"] for each in listed}
            keys = {each["title"]: each["key"] for each in listed}
            of = f"api/flows/{keys['greets']}"
            fields = {each["name"]: each for each in (await client.get(of)).json()["fields"]}
            assert {name: (each["kind"], each["text"], each["none"]) for name, each in fields.items()} == {
                "name": ("text", "", True), "times": ("number", "2", False), "mood": ("choice", '"glad"', False),
                "loud": ("choice", "", True), "more": ("json", "", True),
            }  # fmt: skip

            refused = await client.post(of, json={"times": "3"}, headers=own)
            assert refused.status_code == 400 and "'name' is required" in refused.json()["error"]
            answer = await client.post(of, json={"name": "Zoë", "times": "3"}, headers=own)
            assert answer.status_code == 200, answer.text
            out = (await mainframe.session(answer.json()["session"]).outputs())["out"]
            assert out == {"name": "Zoë", "times": 3, "mood": "glad", "loud": None, "more": None}

            broken = await client.get(f"api/flows/{keys['b']}")
            assert broken.status_code == 400 and "flow.oo.yaml" in broken.json()["error"]
            # What is read is what was offered, whatever a browser names.
            for key in ("stocks", "..%2F..%2Fetc", "0" * 16, str(tmp_path / "flows").replace("/", "%2F")):
                assert (await client.post(f"api/flows/{key}", json={}, headers=own)).status_code in (404, 405), key
            assert (await client.post(of, json={"name": "Zoë"})).status_code == 403, "another page's form"
            assert len(await mainframe.sessions()) == 1


async def test_an_example_can_be_started_and_an_edit_is_seen_by_the_next_form(tmp_path: Path) -> None:
    path = greets(tmp_path / "greets")
    async with asyncblock.embedded() as mainframe:
        sources = Sources(mainframe, roles=frozenset({"client"}), flows=[path.parent])
        async with serving(sources, port=0) as page, client_of(page) as client:
            listed = {each["title"]: each["key"] for each in (await client.get("api/flows")).json()["flows"]}
            [field] = (await client.get(f"api/flows/{listed['stocks']}")).json()["fields"]
            assert (field["name"], field["kind"], field["optional"]) == ("path", "text", True)
            path.write_text(path.read_text().replace("value: 2", "value: 7"))
            fields = (await client.get(f"api/flows/{listed['greets']}")).json()["fields"]
            assert fields[1]["text"] == "7"


async def test_an_observers_page_and_one_without_a_mainframe_offer_nothing(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        for page_for in (page_of(mainframe, roles=("observer",)), page_of()):
            async with page_for as page, client_of(page) as client:
                own = {"origin": page.url.rstrip("/")}
                assert (await client.get("api/flows")).status_code == 403
                assert (await client.post("api/flows/any", json={}, headers=own)).status_code == 403
