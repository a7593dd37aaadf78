"""Commands behind a proxy that asks for a header, and what they say of addresses that have secrets in them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ..processes import run, start
from .proxies import Nginx
from .test_proxies import served

pytestmark = pytest.mark.timeout(180)


@pytest.mark.skipif(not Nginx.installed(), reason=f"not there: apt-get install {Nginx.package}")
async def test_every_command_that_connects_takes_headers_and_no_block_sees_them(tmp_path: Path) -> None:
    """With an executor of its own, whose processes go the same way."""
    flow = tmp_path / "flow"
    flow.mkdir()
    (flow / "package.oo.yaml").write_text("name: env\nversion: 1.0.0\n")
    (flow / "main.py").write_text("import os\n\n\ndef main(inputs, ctx):\n    return {'env': dict(os.environ)}\n")
    (flow / "flow.oo.yaml").write_text(
        "nodes:\n- node_id: n\n  task:\n    executor: {name: python, options: {entry: main.py}}\n"
        "    outputs_def: [{handle: env}]\n"
        "outputs_from: [{handle: env, from_node: [{node_id: n, output_handle: env}]}]\n"
    )
    async with served(Nginx, tmp_path, "key") as (proxy, token):
        at = ("--url", proxy.url, "--token", token, "--header", "X-Key: open")
        async with start("executor", *at, "--package", flow, state=tmp_path) as executor:
            await executor.until_line("executor for", err=True)
            made = await run("submit", flow, *at, "--json", state=tmp_path)
            assert made.process.returncode == 0, made.err
            end = made.events()[-1]
            assert "X-Key" not in str(end["outputs"])
            session = end["session_id"]
            commands = [
                ("watch", session),
                ("outputs", session),
                ("cancel", session),
                ("sessions",),
                ("sessions", "prune", "--keep", "5"),
                ("doctor",),
            ]
            *done, refused = await asyncio.gather(
                *(run(*words, *at, state=tmp_path) for words in commands),
                run("outputs", session, *at[:4], state=tmp_path),
            )
            assert [each.process.returncode for each in done] == [0] * len(commands), [each.err for each in done]
            assert refused.process.returncode == 2
            assert "HTTP 403" in "".join(refused.err)


async def test_no_command_prints_what_an_address_has_of_secrets(tmp_path: Path) -> None:
    urls = ["ws://me:secret@127.0.0.1:1", "me:secret@127.0.0.1:1", "ws://127.0.0.1:1/?key=secret"]
    commands = ["executor", "doctor", "outputs x"]
    at_once = asyncio.Semaphore(3)

    async def said(command: str, url: str) -> list[str]:
        async with at_once:
            done = await run(*command.split(), "--url", url, "--token", "t", state=tmp_path)
        assert done.process.returncode in (1, 2)
        return [*done.out, *done.err]

    for lines in await asyncio.gather(*(said(command, url) for command in commands for url in urls)):
        assert lines
        assert "secret" not in "".join(lines)
