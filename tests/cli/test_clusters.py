"""``asyncblock cluster`` on real NATS servers: sets are made, examined, and refused where they couldn't keep a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock.server.cluster.clusterset import make_set
from asyncblock.server.jetstream.natsstore import NatsStore

from ..flows import one_block
from ..processes import free_port, run, start
from ..server.jetstream.servers import NatsServers, nats_servers, running_servers


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServers]:
    with nats_servers(tmp_path_factory.mktemp("nats")) as servers:
        yield servers


def init(servers: NatsServers, name: str, *more: str) -> tuple[str, ...]:
    return ("cluster", "init", ",".join(servers.urls), "--name", name, "--replicas", "1", *more)


async def test_a_set_is_made_once_and_examined(nats: NatsServers, tmp_path: Path) -> None:
    made = await run(*init(nats, "made", "--monitoring", nats.monitoring[0], "--max-bytes", "1GiB"), state=tmp_path)
    assert made.process.returncode == 0, made.err
    assert f"asyncblock serve --cluster {nats.urls[0]} --name made" in made.out[1]
    again = await run(*init(nats, "made", "--sync-always"), state=tmp_path)
    assert again.process.returncode == 2
    assert "there is a set made in this cluster, with partitions 1 and replicas 1" in again.err[0]
    # Nobody serves it: that isn't well, all else is.
    examined = await run("cluster", "status", nats.urls[0], "--name", "made", state=tmp_path)
    assert examined.process.returncode == 1
    bad = [line for line in examined.out if line.startswith("BAD")]
    assert len(bad) == 1
    assert "no member owns it; start 'asyncblock serve" in bad[0]
    assert "always, as their monitoring said" in "\n".join(examined.out)
    told = await run("cluster", "status", "--name", "made", "--json", state=tmp_path, ASYNCBLOCK_CLUSTER=nats.urls[0])
    found = orjson.loads(told.out[0])
    assert [each["max_bytes"] for each in found["streams"]] == [1 << 30] * 2
    assert found["description"]["name"] == "made"
    assert "token" not in told.out[0]


async def test_a_set_of_several_partitions_is_handed_over_by_its_members_alone(
    nats: NatsServers, tmp_path: Path
) -> None:
    store = await NatsStore.open(nats.urls)
    await make_set(store, "several", 2, nats.demands)
    await store.close()
    told = await run("cluster", "hand-over", nats.urls[0], "--name", "several", state=tmp_path)
    assert told.process.returncode == 2
    assert "set several has 2 partitions" in told.err[0]


async def test_a_stream_that_was_changed_by_hand_is_said_to_be(nats: NatsServers, tmp_path: Path) -> None:
    assert (await run(*init(nats, "changed", "--sync-always"), state=tmp_path)).process.returncode == 0
    store = await NatsStore.open(nats.urls)
    config = (await store.ask("STREAM.INFO.AB_changed_0"))["config"]
    await store.ask("STREAM.UPDATE.AB_changed_0", {**config, "discard": "old"})
    await store.close()
    examined = await run("cluster", "status", nats.urls[0], "--name", "changed", state=tmp_path)
    assert examined.process.returncode == 1
    assert "has discard 'old'; the journal needs 'new'" in "\n".join(examined.out)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "Set 'sync_interval: always'"),
        (("--sync-always", "--replicas", "3"), "num_replicas 3 needs as many servers in one cluster"),
        (("--sync-always", "--replicas", "2"), "replicas is 1, 3 or 5, not 2"),
        (("--sync-always", "--partitions", "2"), "partitions is 1, not 2"),
        (("--sync-always", "--max-bytes", "much"), "--max-bytes is a size"),
        (("--sync-always", "--name", "a_b"), "a set's name is up to 40 letters"),
        (("--monitoring", "http://127.0.0.1:1"), "the monitoring of the NATS server at http://127.0.0.1:1 doesn't"),
        (("--monitoring", "127.0.0.1:1"), "is no address of a NATS server's monitoring"),
    ],
)
async def test_what_cant_keep_the_promise_is_refused_by_name(
    nats: NatsServers, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    refused = await run(*init(nats, "refused", *more), state=tmp_path)
    assert refused.process.returncode == 2
    assert words in refused.err[0]
    gone = await run("cluster", "status", nats.urls[0], "--name", "refused", state=tmp_path)
    assert gone.process.returncode == 2
    assert "there is no set refused in this cluster; make it with" in gone.err[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sync_interval": '"2m"'}, "has sync_interval 120s: it acknowledges what isn't on disk"),
        ({"max_payload": "1048576"}, "max_payload is 1048576; set 'max_payload: 8388608'"),
        ({"jetstream": "off"}, "has no JetStream"),
    ],
)
async def test_servers_with_other_settings_are_refused(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    async with running_servers(tmp_path, 1, settings) as servers:
        await servers.listening()
        refused = await run(*init(servers, "s", "--monitoring", servers.monitoring[0]), state=tmp_path)
        assert refused.process.returncode == 2
        assert words in refused.err[0]


async def test_who_is_asked_for_a_password_gives_it_and_it_is_never_shown(tmp_path: Path) -> None:
    async with running_servers(tmp_path, 1, {"user": "ab:secret"}) as servers:
        host = servers.urls[0].removeprefix("nats://")
        wrong = await run("cluster", "status", f"nats://ab:guessed@{host}", "--name", "s", state=tmp_path)
        assert wrong.process.returncode == 2
        assert "Authorization Violation" in wrong.err[0]
        given = f"nats://ab:secret@{host}"
        made = await run(
            "cluster", "init", given, "--name", "s", "--replicas", "1", "--sync-always", "--json", state=tmp_path
        )
        assert made.process.returncode == 0, made.err
        assert orjson.loads(made.out[0])["auth_required"] is True
        assert "secret" not in "\n".join([*made.out, *made.err]) + "\n".join(wrong.err)
        assert "guessed" not in wrong.err[0]


async def test_a_password_for_servers_that_let_anybody_in_is_a_mistake(nats: NatsServers, tmp_path: Path) -> None:
    given = nats.urls[0].replace("//", "//ab:secret@")
    refused = await run("cluster", "init", given, "--name", "open", "--replicas", "1", "--sync-always", state=tmp_path)
    assert refused.process.returncode == 2
    assert "asks for no credentials, so anyone could read and change everything; set 'authorization'" in refused.err[0]


async def test_what_ended_on_one_mainframe_is_shown_by_a_set(nats: NatsServers, tmp_path: Path) -> None:
    """Its large value, too. While a member runs nothing is imported."""
    value = "x" * 300_000
    flow = one_block(
        tmp_path / "f",
        f"""
        async def main(inputs, ctx):
            await ctx.output({value[:1]!r} * {len(value)}, "out")
        """,
    )
    ran = await run("run", flow, "--data-dir", tmp_path / "alone", state=tmp_path)
    assert ran.process.returncode == 0, ran.err
    assert (await run(*init(nats, "moved", "--sync-always"), state=tmp_path)).process.returncode == 0
    moving = ("cluster", "import", nats.urls[0], str(tmp_path / "alone"), "--name", "moved")
    for words in ("1 sessions and 1 bodies copied", "0 sessions and 0 bodies copied, 0 bytes; 1 were there already"):
        moved = await run(*moving, state=tmp_path)
        assert moved.process.returncode == 0, moved.err
        assert words in moved.out[0]
    port = free_port()
    serving = ("serve", "--port", str(port), "--cluster", nats.urls[0], "--name", "moved", "--data-dir", tmp_path / "m")
    async with start(*serving, state=tmp_path) as member:
        await member.until_line("owner of set moved", err=True)
        refused = await run(*moving, state=tmp_path)
        assert refused.process.returncode == 2
        assert "stop them while you import" in refused.err[0]
        reach = ("--url", f"ws://127.0.0.1:{port}", "--token", (tmp_path / "m" / "token").read_text().strip())
        [listed] = (await run("sessions", "--json", *reach, state=tmp_path)).events()
        assert listed["state"] == "succeeded"
        async with asyncblock.connect(reach[1], reach[3]) as mainframe:
            assert await mainframe.session(listed["session_id"]).outputs() == {"out": value}
    nothing = await run("cluster", "import", nats.urls[0], str(tmp_path / "no"), "--name", "moved", state=tmp_path)
    assert nothing.process.returncode == 2
    assert "there is no journal in" in nothing.err[0]
