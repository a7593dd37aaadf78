"""Secrets and credentials: resolved on the executor, never in the journal, never in what a job says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.context import JobInfo
from asyncblock.executor.attribution import capture
from asyncblock.executor.secrets.confidential import holds_reference, resolve_inputs

from ...flows import all_of, end_of, node, run_flow, write_flow

REFERENCE = "${{OO_SECRET:aws,prod,token}}"
TOKEN = "t0p-s3cret"
SECRET = {"contentMediaType": "oomol/secret"}


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "secrets": {"prod": {"type": "aws", "values": {"token": TOKEN, "looks like one": REFERENCE}}},
        "credentials": {"c-1": {"type": "mail", "values": {"password": "p4ssw0rd"}}},
    }
    (tmp_path / "secrets.json").write_text(json.dumps(content))
    monkeypatch.setenv("ASYNCBLOCK_SECRETS", str(tmp_path / "secrets.json"))


async def resolved(value: object, schema: object = None, patches: object = None) -> Any:
    defs = {"x": {"handle": "x", **({"json_schema": schema} if schema is not None else {})}}
    job = JobInfo("s", "j", inputs_def=defs)
    return (await resolve_inputs(job, {"x": value}, {"x": patches} if patches else None, set()))["x"]


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("aws,prod,token", SECRET, TOKEN),
        (REFERENCE, SECRET, TOKEN),
        (REFERENCE, None, TOKEN),
        ({"a": [1, {"b": REFERENCE}]}, None, {"a": [1, {"b": TOKEN}]}),
        ("aws,prod,token", None, "aws,prod,token"),
        (f"Bearer {REFERENCE}", None, f"Bearer {REFERENCE}"),
        ({REFERENCE: 1}, None, {REFERENCE: 1}),
        (None, SECRET, None),
        ("plain", SECRET, "plain"),
        (
            {"k": "aws,prod,token", "l": "aws,prod,token"},
            {"properties": {"k": SECRET}},
            {"k": TOKEN, "l": "aws,prod,token"},
        ),
        (["aws,prod,token"], {"items": SECRET}, [TOKEN]),
    ],
)
async def test_references_are_resolved_where_they_may_stand(value: object, schema: object, expected: object) -> None:
    assert await resolved(value, schema) == expected


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("aws,prod,token", None, TOKEN),
        ({"a": "aws,prod,token", "b": "aws,prod,token"}, "a", {"a": TOKEN, "b": "aws,prod,token"}),
        ([0, {"b": "aws,prod,token"}], [1, "b"], [0, {"b": TOKEN}]),
        ({"a": 1}, ["a", "b"], {"a": 1}),
        ({"a": 1}, "elsewhere", {"a": 1}),
    ],
)
async def test_b10_schema_overrides_of_a_node_make_secrets(value: object, path: object, expected: object) -> None:
    patches = [{"path": path, "schema": SECRET}, {"path": path, "schema": {"contentMediaType": "oomol/other"}}]
    assert await resolved(value, None, patches) == expected


async def test_b11_what_was_resolved_is_not_resolved_again(caplog: pytest.LogCaptureFixture) -> None:
    """The original looked at a resolved secret a second time, and logged it."""
    caplog.set_level(0)
    assert await resolved("aws,prod,looks like one", SECRET, [{"schema": SECRET}]) == REFERENCE
    assert await resolved(REFERENCE, SECRET, [{"schema": SECRET}]) == TOKEN
    assert TOKEN not in caplog.text


def test_large_values_are_searched_as_bytes() -> None:
    assert holds_reference(json.dumps({"a": [REFERENCE]}).encode())
    assert not holds_reference(b'{"a": "OO_SECRET"}')


# ---------------------------------------------------------------------- through a real mainframe


def flow(directory: Path, source: str, value: object, *, schema: dict[str, Any] | None = None, **fields: Any) -> Path:
    definition: dict[str, Any] = {"handle": "x", **({"json_schema": schema} if schema else {})}
    nodes = [
        node("n", source, directory, inputs=[definition], inputs_from=[{"handle": "x", "value": value}]),
        *fields.pop("nodes", ()),
    ]
    outputs = [{"handle": "o", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    return write_flow(directory, nodes, outputs_from=outputs, **fields)


def said(found: Sequence[events.Event]) -> str:
    return "\n".join(str(event.to_json()) for event in found)


async def run_kept(path: Path, data_dir: Path) -> list[events.AnyEvent]:
    """Run a flow; nothing that it leaves on disk holds a secret."""
    async with asyncblock.embedded(data_dir) as mainframe:
        session = await mainframe.start(path)
        found = [event async for event in session]
    kept = [file.read_bytes() for file in data_dir.rglob("*") if file.is_file()]
    assert any(REFERENCE.encode() in content for content in kept)
    for secret in (TOKEN, "p4ssw0rd"):
        assert not any(secret.encode() in content for content in kept)
        assert secret not in said(found)
    return found


SAYING = """
    import logging, sys
    async def main(inputs, ctx):
        token = inputs["x"]["deep"][0]
        assert len(token) == 10, len(token)
        print("the token is", token, "!")
        sys.stderr.write(repr({"k": token}) + "\\n")
        logging.warning("a header: %s", token)
        await ctx.report_log(f"log {token}")
        await ctx.log_json({"json": [token]})
        await ctx.send_message({"message": token})
        await ctx.send_warning(f"warning {token}")
        await ctx.send_error(f"error {token}")
        await ctx.preview({"type": "text", "data": f"preview {token}"})
        ctx.logger.info("logger %s", token)
        END
    """


@pytest.mark.parametrize("form", ["async", "sync"])
@pytest.mark.parametrize("end", ["raise ValueError(f'no good: {token}')", "await ctx.done(token)", "sys.exit(token)"])
async def test_a_secret_is_in_no_line_no_error_and_no_journal(tmp_path: Path, form: str, end: str) -> None:
    source = SAYING.replace("END", end)
    if form == "sync":
        source = source.replace("await ", "").replace("async ", "")
    capture.install()
    try:
        found = await run_kept(flow(tmp_path, source, {"deep": [REFERENCE]}), tmp_path / "data")
    finally:
        capture.uninstall()
    logs = [e.log for e in all_of(found, events.BlockLog)]
    assert "the token is *** !" in logs
    assert "{'k': '***'}" in logs
    assert "log ***" in logs
    assert any("a header: ***" in line for line in logs)
    assert [e.json for e in all_of(found, events.BlockLogJSON)] == [{"json": ["***"]}]
    assert [e.payload for e in all_of(found, events.BlockMessage)] == [{"message": "***"}]
    assert [e.payload["data"] for e in all_of(found, events.BlockPreview)] == ["preview ***"]
    assert "***" in (end_of(found).error or "")


TAKE = "async def main(inputs, ctx): return {'out': len(inputs['x'])}"


@pytest.mark.parametrize("large", [False, True])
async def test_a_secret_that_is_handed_on_travels_as_its_reference(tmp_path: Path, large: bool) -> None:
    source = f"""
        async def main(inputs, ctx):
            value = [inputs["x"], "y" * {200_000 if large else 1}]
            await ctx.output(value, "out")
            return {{"alone": inputs["x"]}}
        """
    nodes = [
        node("a", source, tmp_path, inputs=[{"handle": "x"}], outputs=["out", "alone"],
             inputs_from=[{"handle": "x", "value": REFERENCE}]),
        *(
            node(taker, code, tmp_path, inputs=[{"handle": "x"}],
                 inputs_from=[{"handle": "x", "from_node": [{"node_id": "a", "output_handle": handle}]}])
            for taker, handle, code in (
                ("b", "out", "async def main(inputs, ctx): return {'out': len(inputs['x'][0])}"),
                ("c", "alone", TAKE),
            )
        ),
    ]  # fmt: skip
    found = await run_kept(write_flow(tmp_path, nodes), tmp_path / "data")
    assert end_of(found).state == "succeeded", end_of(found).error
    results = {e.node_id: e.result for e in all_of(found, events.BlockFinished)}
    assert results == {"a": {"alone": REFERENCE}, "b": {"out": len(TOKEN)}, "c": {"out": len(TOKEN)}}


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_a_credential_is_looked_up_by_the_block(tmp_path: Path, form: str) -> None:
    source = """
        async def main(inputs, ctx):
            credential = inputs["x"]
            assert (credential.type, credential.name, credential.id) == ("mail", "work", "c-1")
            values = await ctx.query_auth(credential)
            await ctx.report_log(f"it is {values['password']}")
            await ctx.output(credential, "out")
        """
    if form == "sync":
        source = source.replace("await ", "").replace("async ", "")
    path = flow(tmp_path, source, "${{OO_CREDENTIAL:mail,work,c-1}}", schema={"contentMediaType": "oomol/credential"})
    found = await run_flow(path)
    assert end_of(found).state == "succeeded", end_of(found).error
    assert end_of(found).outputs == {"o": "${{OO_CREDENTIAL:mail,work,c-1}}"}
    assert [e.log for e in all_of(found, events.BlockLog)] == ["it is ***"]
    assert "p4ssw0rd" not in said(found)


@pytest.mark.parametrize(
    ("value", "media", "words"),
    [
        ("aws,other,token", "oomol/secret", "input 'x': there is no secret 'other'"),
        ("${{OO_SECRET:aws,prod,pin}}", None, "input 'x': there is no key 'pin' in secret 'prod'"),
        ("mail,work,c-1", "oomol/credential", "input 'x': a credential is written ${{OO_CREDENTIAL:type,name,id}}"),
    ],
)
async def test_a_reference_to_nothing_ends_the_job(tmp_path: Path, value: str, media: str | None, words: str) -> None:
    """The block doesn't run with the reference in the secret's place."""
    schema = {"contentMediaType": media} if media else None
    found = await run_flow(flow(tmp_path, TAKE, value, schema=schema))
    assert words in (end_of(found).error or "")
    assert not all_of(found, events.BlockStarted)
    # The message says it all: no frame is the author's, and none of the way to here helps anybody.
    [finished] = all_of(found, events.BlockFinished)
    assert "File " not in (finished.traceback or "")
