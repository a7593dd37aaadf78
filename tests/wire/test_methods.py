"""What requests are answered: each method is asked of a real mainframe, and what comes is compared with the schema."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from asyncblock.errors import RemoteProtocolError
from asyncblock.link.questions import Questions
from asyncblock.testing.golden import stored_sessions
from asyncblock.wire import frames
from asyncblock.wire.describe import json_schema
from asyncblock.wire.messages import Reply
from asyncblock.wire.methods import METHODS, result_misfit

from ..peers import HASH, Host, Peer, mainframe, node, plan

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


def closed_schema() -> dict[str, Any]:
    """Return the wire's schema with nothing allowed in results that isn't described."""
    schema = deepcopy(json_schema())
    for name, each in schema["$defs"].items():
        if "properties" in each and "oneOf" not in each and name != "Offer":
            each["additionalProperties"] = False
    return schema


SCHEMA = closed_schema()
RESULTS = {
    name: jsonschema_rs.validator_for({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/result.{name}"}]}) for name in METHODS
}


def check(method: str, reply: dict[str, Any]) -> dict[str, Any]:
    assert reply["error"] is None, (method, reply["error"])
    result: dict[str, Any] = reply["result"]
    assert RESULTS[method].is_valid(result), (method, result, *map(str, RESULTS[method].iter_errors(result)))
    assert result_misfit(method, result) is None
    return result


HANDLE = {"handle": "v", "description": "what is taken", "json_schema": {"type": "integer"}, "nullable": True}


def nested() -> dict[str, Any]:
    """Return a plan with a catalog, a service, and an output that goes to a node and out of the flow."""
    service = node("service", block={"service": {"name": "nodejs", "block": "b"}, "hash": "n0body"})
    taker = node("taker", {"v": {"sources": [["n", "out"]]}}, block={"inputs_def": [HANDLE], "description": "takes"})
    made = plan(node("n"), taker, service, outputs={"o": [["n", "out"]]})
    inner = {key: made[key] for key in ("title", "path", "inputs_def")}
    made["outputs_def"] = [{"handle": "o"}]
    made["flows"] = {"p::sub": {**inner, "nodes": [node("inner")], "outputs": {}, "outputs_def": [], "scope": "p"}}
    made["catalog"] = {
        "p::inc": node("inc", block={"inputs_def": [HANDLE], "outputs_def": [], "additional_inputs": True}),
        "p::sub": {"node_id": "sub", "kind": "subflow", "block": {}, "inputs": {}, "flow": "p::sub"},
    }
    made["scope"] = "p"
    return made


async def ask(asked: set[str], peer: Peer, method: str, **params: object) -> dict[str, Any]:
    asked.add(method)
    return check(method, await peer.ask(method, id=f"r{len(peer.sizes)}{len(asked)}", **params))


async def test_the_answer_to_each_method_is_what_its_type_says_and_nothing_besides(tmp_path: Path) -> None:
    asked: set[str] = set()
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        can = {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": 9}, "host": "h" * 16}
        await peer.hello("worker", executor=can, secret="s" * 16)
        assert (await ask(asked, peer, "start", session_id="s", plan=nested()))["session_id"] == "s"
        dispatch = await peer.until("dispatch")
        assert dispatch["node_id"] == "n"
        await peer.batch(1, dispatch["channel"], STARTED)
        await peer.until("ack")
        await asks_of_jobs(asked, peer, dispatch)
        assert (await ask(asked, peer, "message_service", session_id="s", node_id="service"))["executors"] == 1
        held = {"link": "worker", "secret": "s" * 16, "seconds": 1.0, "threads": [[["a.py", 3, "main"]]], "works": True}
        await ask(asked, peer, "executor_held", **held)
        value = {"session_id": "s", "job_id": dispatch["job_id"], "attempt": 1, "place": 0}
        await ask(asked, peer, "exported", **value, error="it stays")
        await ask(asked, peer, "carried", **value, error="it stays")
        for state in (None, "running"):
            [row] = (await ask(asked, peer, "sessions", state=state))["sessions"]
            assert row["state"] == "running"
        assert (await ask(asked, peer, "session", session_id="s"))["state"] == "running"
        await ask(asked, peer, "info")
        [row] = (await ask(asked, peer, "executors"))["executors"]
        assert (row["link"], row["slots"]["loop"], row["jobs"][0]["node_id"]) == ("worker", 9, "n")
        assert row["stall"]["where"] == "main (a.py:3)"
        await ask(asked, peer, "drain", link="worker")
        await ask(asked, peer, "drain", link="worker", drained=False)
        await ask(asked, peer, "cancel_job", session_id="s", job_id=dispatch["job_id"], reason="enough")
        await ask(asked, peer, "cancel", session_id="s")
        await gives_back(asked, host)
        open_jobs = [dispatch, *(each for each in peer.came if each["op"] == "dispatch")]
        for seq, each in enumerate(open_jobs, 2):
            await peer.batch(seq, each["channel"], FINISHED)
        await peer.rows("s")
        ended = await ask(asked, peer, "session", session_id="s")
        assert ended["state"] == "failed" or ended["state"] == "cancelled"
        await ask(asked, peer, "sessions", state=ended["state"])
        assert (await ask(asked, peer, "prune", keep=0))["sessions"]
    assert asked == METHODS.keys()


async def asks_of_jobs(asked: set[str], peer: Peer, dispatch: dict[str, Any]) -> None:
    who = {"session_id": "s", "job_id": dispatch["job_id"], "attempt": 1}
    block = f"{dispatch['job_id']}.1.x"
    assert (await ask(asked, peer, "run_block", **who, block_job_id=block, block="self::inc", inputs={"w": 1}))[
        "offset"
    ]
    # The same one, again: where it stands, and nothing that was noticed at the first time.
    assert (await ask(asked, peer, "run_block", **who, block_job_id=block, block="self::inc"))["offset"]
    await ask(asked, peer, "cancel_block", **who, block_job_id=block, reason="enough")
    assert (await ask(asked, peer, "query_block", **who, block="self::inc"))["type"] == "task"
    assert (await ask(asked, peer, "query_block", **who, block="self::sub"))["type"] == "subflow"
    downstream = (await ask(asked, peer, "query_downstream", **who))["downstream"]
    [to_node], [to_flow] = downstream["out"]["to_node"], downstream["out"]["to_flow"]
    assert (to_node["node_id"], to_node["input_handle_def"]) == ("taker", HANDLE)
    assert to_flow == {"output_handle": "o", "output_handle_def": {"handle": "o"}}
    await ask(asked, peer, "update_node_weight", **who, node_id="n", weight=2)


async def gives_back(asked: set[str], host: Host) -> None:
    peer = host.peer()
    can = {"languages": ["python"], "packages": {"0ther": "p"}, "slots": {"async": 1}}
    await peer.hello("other", executor=can)
    await ask(set(), peer, "start", session_id="t", plan=plan(node("n", block={"hash": "0ther"})))
    dispatch = await peer.until("dispatch")
    await peer.say("announce", executor=None)
    who = {"session_id": "t", "job_id": dispatch["job_id"], "attempt": 1}
    await ask(asked, peer, "give_back", **who, reason="edited")
    await peer.say("announce", executor=can)
    dispatch = await peer.until("dispatch")
    await ask(asked, peer, "give_back", **{**who, "attempt": dispatch["attempt"]}, reason="none is free", full=True)
    # Not before it says that it has a slot.
    assert (await ask(asked, peer, "free", kind="threads", slots=1))["jobs"] == []
    assert (await ask(asked, peer, "free", kind="loop", slots=0))["jobs"] == []
    assert (await ask(asked, peer, "free", kind="loop", slots=1))["jobs"] == [[dispatch["job_id"], 3]]
    assert (await peer.until("dispatch"))["attempt"] == 3
    await ask(set(), peer, "cancel", session_id="t")
    await ask(asked, peer, "give_back", **{**who, "attempt": 3}, reason="none is free", full=True)
    await peer.rows("t")


@pytest.mark.parametrize("story", sorted(stored_sessions()))
def test_the_answers_in_golden_sessions_have_nothing_besides_their_types(story: str) -> None:
    methods: dict[str, str] = {}
    count = 0
    for entry in stored_sessions()[story]:
        for header, _ in frames.split(entry.message) if entry.message and frames.is_text(entry.message) else ():
            if header["op"] == "request":
                methods[str(header["id"])] = str(header["method"])
            elif header["op"] == "reply" and header["error"] is None:
                check(methods[str(header["id"])], header)
                count += 1
    assert count


@pytest.mark.parametrize(
    ("method", "result", "place"),
    [
        ("session", {}, "session_id"),
        ("sessions", {"sessions": [{}]}, "sessions[0].session_id"),
        ("info", None, "version"),
        ("message_service", {"executors": "1"}, "executors"),
        ("query_downstream", {"downstream": {"out": {"to_node": [{}]}}}, "downstream['out'].to_node[0].node_id"),
        ("prune", {"sessions": [7], "bytes": 1}, "sessions[0]"),
    ],
)
async def test_an_answer_of_another_type_is_told_to_whoever_has_asked(
    method: str, result: dict[str, Any] | None, place: str
) -> None:
    questions = Questions(lambda line: questions.replied(Reply("r", result)))
    with pytest.raises(RemoteProtocolError) as caught:
        await questions.request(method, {}, "r")
    assert repr(place) in str(caught.value)
    assert method in str(caught.value)


async def test_an_answer_of_a_later_mainframe_may_have_more() -> None:
    questions = Questions(lambda line: questions.replied(Reply("r", {"executors": 1, "later": {"a": 1}})))
    assert (await questions.request("message_service", {}, "r"))["executors"] == 1
