"""Bad input: one clear message with file and line and what to do, exit code 2, no traceback of ours, nothing left."""

from __future__ import annotations

import asyncio
import socket
import textwrap
from pathlib import Path
from typing import Any

import orjson
import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from websockets.typing import Subprotocol

import asyncblock
from asyncblock.errors import ConnectionLost, RemoteProtocolError, Unauthorized, Unavailable
from asyncblock.wire.messages import Bye, Hello, encode

from ..processes import Command, free_port, run, start

FINE = """
nodes:
  - node_id: n
    task:
      inputs_def: [{handle: a}]
      outputs_def: [{handle: out}]
      executor: {name: python, options: {entry: n.py, function: main}}
    inputs_from: [{handle: a, value: 1}]
"""


def refused(command: Command, *words: str) -> None:
    """Check that a command was refused in the one way that there is."""
    text = "\n".join(command.err)
    assert command.process.returncode == 2, text
    assert command.out == []
    assert command.err[0].startswith("asyncblock: "), text
    assert "Traceback" not in text
    for each in words:
        assert each in text, text


def write(directory: Path, flow: str, block: str = "def main(inputs, ctx): ...\n") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "n.py").write_text(block)
    path = directory / "flow.oo.yaml"
    path.write_text(textwrap.dedent(flow).lstrip("\n"))
    return path


FLOWS: dict[str, tuple[str, int, str]] = {
    "yaml that doesn't parse": ("nodes:\n  - {node_id: n\n", 3, "not valid YAML"),
    "an unknown block": ("nodes:\n  - {node_id: n, task: self::nope}\n", 2, "there is no block 'self::nope'"),
    "an unknown executor": (FINE.replace("name: python", "name: cobol"), 6, "executor 'cobol'"),
    "an unknown handle": (FINE.replace("{handle: a, value: 1}", "{handle: z, value: 1}"), 7, "no input 'z'"),
    "an input that nothing feeds": (FINE.replace("{handle: a, value: 1}", ""), 2, "nothing feeds its input 'a'"),
    "a node id used twice": (FINE + FINE.replace("\nnodes:\n", ""), 8, "'n' is used twice (first in line 2)"),
    "a missing entry file": (FINE.replace("n.py", "no.py"), 6, "entry file 'no.py' isn't there"),
    "a missing function": (FINE.replace("function: main", "function: work"), 6, "no function 'work'; it has main"),
    "an empty flow": ("nodes: []\n", 1, "the flow is empty"),
    "a missing required input": (
        "inputs_def: [{handle: q}]\n"
        + FINE.replace("{handle: a, value: 1}", "{handle: a, from_flow: [{input_handle: q}]}").lstrip(),
        1,
        "give it with --input q=",
    ),
}


@pytest.mark.parametrize("name", FLOWS)
async def test_a_flow_that_cannot_be_run_is_refused_with_file_line_and_reason(name: str, tmp_path: Path) -> None:
    flow, line, words = FLOWS[name]
    path = write(tmp_path / "f", flow)
    command = await run("run", path, state=tmp_path)
    refused(command, "the flow can't be run", f"{path}:{line}: ", words)
    assert not (tmp_path / "asyncblock").exists()
    async with asyncblock.embedded() as mainframe:
        with pytest.raises(asyncblock.InvalidFlow, match=words.replace("(", ".").replace(")", ".")) as caught:
            await mainframe.start(path)
    assert (str(path), line) in [(problem.file, problem.line) for problem in caught.value.problems]


async def test_all_problems_of_a_flow_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f",
        """
        nodes:
          - {node_id: a, task: self::nope}
          - {node_id: b, task: self::neither}
          - {node_id: b, task: self::nor}
        """,
    )
    command = await run("run", path, "--input", "x=1", state=tmp_path)
    refused(command, "'self::nope'", "'self::neither'", "'self::nor'", "'b' is used twice", "no input 'x'")
    assert len(command.err) == 6


async def test_a_flow_that_is_missing_or_unreadable_is_refused(tmp_path: Path) -> None:
    refused(await run("run", "no-such-flow", state=tmp_path), "no-such-flow: there is no such flow")
    refused(await run("run", tmp_path, state=tmp_path), "the directory holds no flow.oo.yaml")
    binary = tmp_path / "flow.oo.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    refused(await run("run", binary, state=tmp_path), f"{binary}: ", "UTF-8")


async def test_bad_usage_is_refused_before_anything_starts(tmp_path: Path) -> None:
    for arguments, words in (
        (("run",), "argument"),
        (("run", "stocks", "--input", "path"), "isn't NAME=VALUE"),
        (("run", "stocks", "--workers", "0"), "--workers"),
        (("serve", "--synchronous", "perhaps"), "normal"),
        (("sessions", "prune"), "--older AGE, --keep N"),
        (("sessions", "prune", "--older", "soon"), "is no duration"),
        (("sessions", "--state", "lost"), "running"),
        (("perform",), "No such command"),
    ):
        command = await run(*arguments, state=tmp_path, COLUMNS="200")
        assert command.process.returncode == 2, arguments
        assert words in "\n".join(command.err), command.err
        assert "Traceback" not in "\n".join(command.err)
    assert not (tmp_path / "asyncblock").exists()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = await run("serve", "--port", str(port), state=tmp_path)
    refused(command, f"can't listen on 127.0.0.1:{port}", "in use")


async def test_a_data_directory_in_use_names_its_user_and_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with start("serve", "--port", "0", "--data-dir", data, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        words = (str(data), f"in use by the process {server.process.pid}", "--data-dir")
        refused(await run("serve", "--port", "0", "--data-dir", data, state=tmp_path), *words)
        refused(await run("run", "stocks", "--data-dir", data, state=tmp_path), *words)
        with pytest.raises(Unavailable, match=f"has a mainframe already, in process {server.process.pid}"):
            async with asyncblock.embedded(data):
                pass
        assert (await run("sessions", "--data-dir", data, state=tmp_path)).process.returncode == 0


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = await run("run", "stocks", "--data-dir", tmp_path / "file" / "data", state=tmp_path)
    refused(command, str(tmp_path / "file" / "data"), "--data-dir")


CLIENTS = (("submit", "stocks"), ("watch", "abc"), ("sessions",), ("sessions", "prune", "--keep", "1"), ("executor",))


async def test_a_mainframe_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}"

    async def ask(arguments: tuple[str, ...]) -> None:
        refused(
            await run(*arguments, "--url", url, state=tmp_path),
            f"no mainframe at {url}: connection refused",
            "asyncblock serve",
        )
        refused(await run(*arguments, state=tmp_path), "no mainframe is served from", "asyncblock serve")

    nowhere = await run("sessions", "--url", "ws://nowhere.invalid:1", state=tmp_path)
    refused(nowhere, "no mainframe at ws://nowhere.invalid:1", "asyncblock serve")
    assert len(nowhere.err) == 1
    async with asyncio.TaskGroup() as tasks:
        for arguments in CLIENTS:
            tasks.create_task(ask(arguments))
    with pytest.raises(ConnectionLost, match=url):
        async with asyncblock.connect(url, timeout=0.5):
            pass


async def test_a_wrong_token_is_refused_at_once(tmp_path: Path) -> None:
    async with start("serve", "--port", "0", state=tmp_path) as server:
        url = (await server.until_line("mainframe at", err=True)).split()[2].rstrip(",")
        for arguments in CLIENTS:
            command = await run(*arguments, "--token", "wr0ng-t0ken", state=tmp_path)
            refused(command, f"the mainframe at {url} refused the token")
            assert "wr0ng-t0ken" not in "\n".join(command.err)
        with pytest.raises(Unauthorized, match="refused the token"):
            async with asyncblock.connect(url, "wr0ng-t0ken"):
                pass
    assert "wr0ng-t0ken" not in "\n".join(server.err)


async def test_a_token_without_the_role_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("runs executor\nsees observer\n")
    async with start("serve", "--port", "0", "--token-file", tokens, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        refused(await run("submit", "stocks", "--token", "runs", state=tmp_path), "may not 'start'")
        refused(await run("submit", "stocks", "--token", "sees", state=tmp_path), "may not 'start'")
        refused(await run("sessions", "prune", "--keep", "0", "--token", "sees", state=tmp_path), "may not 'prune'")
        refused(await run("executor", "--token", "sees", state=tmp_path), "may not run blocks", "observer")
        assert (await run("sessions", "--token", "sees", state=tmp_path)).process.returncode == 0


async def test_a_session_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with start("serve", "--port", "0", state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        refused(await run("watch", "nosuch", state=tmp_path), "no session 'nosuch'")
    refused(await run("resume", "nosuch", state=tmp_path), "'nosuch'", "--data-dir")


async def test_a_server_of_another_version_is_told_from_none(tmp_path: Path) -> None:
    """Two ways to be another version: another subprotocol, and a goodbye to our Hello."""

    async def dismiss(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for _ in connection:
            words = "this mainframe speaks version 2, not 1; update one"
            await connection.send(encode(Bye("version", words, stop=True)), text=True)

    async def answer(protocol: str, words: str) -> None:
        serve = websockets.asyncio.server.serve(dismiss, "127.0.0.1", 0, subprotocols=[Subprotocol(protocol)])
        async with serve as server:
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            refused(await run("submit", "stocks", "--url", url, "--token", "t", state=tmp_path), words)
            with pytest.raises(RemoteProtocolError, match=words):
                async with asyncblock.connect(url, "t"):
                    pass

    await answer("asyncblock.v2", "another version")
    await answer("asyncblock.v1", "speaks version 2, not 1; update one")


async def test_a_client_of_another_version_is_told_which_one_is_served(tmp_path: Path) -> None:
    async with start("serve", "--port", "0", state=tmp_path) as server:
        url = (await server.until_line("mainframe at", err=True)).split()[2].rstrip(",")
        token = (tmp_path / "asyncblock" / "mainframe" / "token").read_text().strip()
        async with websockets.asyncio.client.connect(
            url,
            subprotocols=[Subprotocol("asyncblock.v1")],
            additional_headers={"Authorization": f"Bearer {token}"},
        ) as connection:
            await connection.send(encode(Hello(2, "11", "b0", 1)), text=True)
            said: dict[str, Any] = orjson.loads(await connection.recv())
    assert (said["op"], said["code"], said["stop"]) == ("bye", "version", True)
    assert "version 1" in said["reason"]


async def test_whoever_is_no_mainframe_is_told_from_one(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        command = await run("submit", "stocks", "--url", url, state=tmp_path)
    refused(command, url, "HTTP 200")


async def test_files_of_serve_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    serve = ("serve", "--port", "0")
    refused(await run(*serve, "--tls-cert", missing, state=tmp_path), "needs both --tls-cert and --tls-key")
    refused(await run(*serve, "--tls-cert", missing, "--tls-key", missing, state=tmp_path), str(missing))
    refused(await run(*serve, "--token-file", missing, state=tmp_path), str(missing))
    (tmp_path / "tokens").write_text("abc king\n")
    (tmp_path / "tokens").chmod(0o600)
    refused(await run(*serve, "--token-file", tmp_path / "tokens", state=tmp_path), "tokens:1", "executor, client")
    refused(await run(*serve, "--host", "0.0.0.0", state=tmp_path), "--tls-cert", "--insecure")
    refused(await run("sessions", "--url", "wss://localhost:1", "--tls-ca", missing, state=tmp_path), str(missing))
    refused(await run("executor", "--package", tmp_path / "nope", state=tmp_path), str(tmp_path / "nope"))
    refused(await run("sessions", "--url", "http://localhost", state=tmp_path), "ws://HOST:PORT")
