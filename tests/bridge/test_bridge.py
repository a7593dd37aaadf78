"""Our executor under the engine, over a real broker: its jobs, and what may go wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import NEEDS_MOSQUITTO, PACKAGE, Broker, Engine, outputs

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_blocks_of_both_kinds_say_what_theirs_says(peer: Engine) -> None:
    [(_, ready)] = peer.came[:1]
    assert ready == {
        "type": "ExecutorReady",
        "session_id": peer.session_id,
        "executor_name": "python",
        "package": str(PACKAGE),
        "identifier": peer.identifier,
        "debug_port": None,
    }
    ours, theirs = peer.run("ours", {"x": 1}), peer.run("theirs", {"x": 1})
    assert (await peer.end(ours))["result"] == (await peer.end(theirs))["result"] == {"b": "end"}
    assert outputs(peer, ours) == [("a", 2), {"a": 2, "b": "two"}]
    assert outputs(peer, theirs) == [("a", 2), ("a", 9)]
    [directed] = [each for each in peer.said(theirs, "BlockOutput") if "options" in each]
    assert directed["options"] == {"target": {"to_node": [{"node_id": "n", "input_handle": "i"}], "to_flow": None}}
    for job in (ours, theirs):
        assert [each["type"] for each in peer.said(job)][::-1][0] == "BlockFinished"
        [request] = peer.said(job, "BlockRequest")
        assert (request["action"], request["payload"]["data"]) == ("Preview", "hello")
        warnings = [each["warning"] for each in peer.told(job, "BlockWarning")]
        assert "Output handle key: [nowhere] is not defined in Block outputs schema." in warnings
    assert peer.said(ours, "BlockRequest")[0]["payload"]["id"] == "p"
    logs = {(each["log"], each["stdio"]) for job in (ours, theirs) for each in peer.told(job, "BlockLog")}
    assert logs == {("begins", "stdout"), ("begins", "stderr"), ("line", "stdout")}
    [message] = peer.told(ours, "BlockMessage")
    assert message["payload"] == {"m": 1}
    assert message["stacks"][-1]["node_id"] == "ours" and message["block_path"] == "/blocks/all/block.oo.yaml"


async def test_a_block_finds_the_engines_directories(peer: Engine) -> None:
    job = peer.run("surroundings", {})
    found = (await peer.end(job))["result"]["a"]
    assert found == [
        str(peer.session_dir),
        str(peer.tmp_dir),
        str(peer.tmp_dir / "package"),
        str(peer.data_dir),
        peer.session_id,
        job,
        "surroundings",
    ]


async def test_a_job_that_comes_again_runs_once(peer: Engine) -> None:
    job = peer.run("ours", {"x": 1})
    again = peer.payload("ours", job)
    for _ in range(3):
        peer.publish("executor/python/run_block", again)
    await peer.end(job)
    peer.publish("executor/python/run_block", again)
    other = peer.run("ours", {"x": 1})
    await peer.end(other)
    assert len(peer.said(job, "BlockReady")) == len(peer.said(job, "BlockFinished")) == 1
    assert outputs(peer, job) == outputs(peer, other)


async def test_what_cant_be_read_or_is_for_others_is_skipped(peer: Engine) -> None:
    topic = "executor/python/run_block"
    for payload in (b"no json", b"[1]", b'{"session_id": 3}', b"\xff", b'{"type": "BlockPayload"}'):
        peer.publish(topic, payload)
        peer.publish(f"inputs/{peer.session_id}/x", payload)
        peer.publish(f"session/{peer.session_id}/request/x/response", payload)
        peer.publish("report", b'"SessionFinished" "run_block::' + payload)
    peer.publish(topic, {**peer.payload("ours", "foreign"), "session_id": "another"})
    peer.publish(topic, {**peer.payload("ours", "foreign"), "identifier": "another"})
    peer.publish("report", {"type": "SessionFinished", "session_id": "another"})
    peer.publish(topic, {**peer.payload("ours", "lost"), "dir": None})
    assert "'dir'" in (await peer.end("lost"))["error"]
    peer.publish(topic, {"type": "BlockPayload", "session_id": peer.session_id, "job_id": "bare", "dir": "/nowhere"})
    assert (await peer.until(lambda t, each: each.get("job_id") == "bare"))[0]["type"] == "BlockReady"
    assert "error" in await peer.end("bare")
    assert (await peer.end(peer.run("ours", {"x": 1})))["result"] == {"b": "end"}
    assert not peer.said("foreign")


async def test_a_job_of_which_the_engine_says_odd_things_has_an_end_all_the_same(peer: Engine) -> None:
    topic = "executor/python/run_block"
    odd: dict[str, dict[str, object]] = {
        "executor": {"executor": "python"},
        "options": {"executor": {"options": ["main.py"]}},
        "service_executor": {"service_executor": 5},
        "NUL": {"executor": {"options": {"entry": "main.py\0"}}},
        "absolute": {"dir": "\0"},
    }
    for job, said in odd.items():
        peer.publish(topic, {**peer.payload("ours", job), **said})
        error = (await peer.end(job))["error"]
        assert error.startswith("the job can't be begun: ") and (job in error or "NUL" in error)
    harmless: dict[str, dict[str, object]] = {
        "a": {"outputs": 5},
        "b": {"outputs": {"a": 3}},
        "c": {"stacks": 5},
        "d": {"stacks": [3]},
    }
    for job, said in harmless.items():
        peer._inputs[job] = {"x": 1}
        peer.publish(topic, {**peer.payload("ours", job), **said})
        assert "error" not in await peer.end(job)
    peer.block_path = 4
    assert (await peer.end(peer.run("ours", {"x": 1})))["result"] == {"b": "end"}
    assert peer.executor.err == []


@pytest.mark.timeout(400)
async def test_a_block_that_ends_its_process_while_it_is_loaded_fails_and_others_dont(peer: Engine) -> None:
    deadly = peer.run("main", {}, dir=str(PACKAGE / "blocks" / "deadly"))
    others = [peer.run("ours", {"x": 1}) for _ in range(3)]
    end = await peer.end(deadly)
    assert end["error"] == "the executor process exited with code 7, as did 2 before: the block's code had not begun"
    for job in others:
        found = await peer.end(job)
        # One that had begun beside it went with it, and doesn't begin again.
        assert found.get("result") == {"b": "end"} or "exited with code 7" in found["error"]
    assert (await peer.end(peer.run("ours", {"x": 1})))["result"] == {"b": "end"}


async def test_more_jobs_than_anybody_would_count_on_can_wait_for_each_other(peer: Engine, tmp_path: Path) -> None:
    place = tmp_path / "meeting"
    jobs = [peer.run("meets", {"place": str(place), "count": 80}) for _ in range(80)]
    for job in jobs:
        assert (await peer.end(job))["result"] == {"a": 80}


async def test_what_goes_wrong_in_a_block_is_its_jobs_end(peer: Engine) -> None:
    failed = peer.run("fails", {})
    error = (await peer.end(failed))["error"]
    assert error.startswith("Traceback") and error.rstrip().endswith("ValueError: no good")
    assert outputs(peer, failed) == [("a", 1)]
    end = await peer.end(peer.run("leaves", {}))
    assert "error" not in end
    assert "'nothing'" in (await peer.end(peer.run("nothing", {})))["error"]
    options = {"name": "python", "options": {"entry": "gone.py"}}
    assert "gone.py" in (await peer.end(peer.run("ours", {}, executor=options)))["error"]


async def test_a_block_that_ends_its_process_fails_alone(peer: Engine) -> None:
    job = peer.run("dies", {})
    assert "exited with code 3" in (await peer.end(job))["error"]
    # What it had said before is there, or isn't: nothing had waited for it.
    assert (await peer.end(peer.run("ours", {"x": 1})))["result"] == {"b": "end"}


async def test_a_service_keeps_what_it_knows_between_its_calls(peer: Engine) -> None:
    service = {
        "name": "python",
        "entry": "main.py",
        "function": "main",
        "start_at": "block_start",
        "stop_at": "session_end",
        "keep_alive": None,
    }
    call = {
        "service_executor": service,
        "dir": str(PACKAGE / "services" / "tally"),
        "block_name": "add",
        "service_hash": "h",
    }
    totals = [(await peer.end(peer.run("add", {"x": number}, **call)))["result"]["a"] for number in (1, 2, 3)]
    assert totals == [1, 3, 6]


async def test_a_broker_that_comes_back_gets_what_was_said_meanwhile(
    peer: Engine, broker: Broker, tmp_path: Path
) -> None:
    running = peer.run("waits", {"x": str(tmp_path / "go")})
    await peer.until(lambda topic, each: each["type"] == "BlockOutput" and each["job_id"] == running)
    await broker.stop()
    await peer.executor.until_line("is lost", err=True)
    (tmp_path / "go").touch()
    await broker.start()
    assert (await peer.end(running))["result"] == {"b": "done"}
    assert outputs(peer, running)[-1] == ("a", "goes on")
    assert (await peer.end(peer.run("ours", {"x": 1})))["result"] == {"b": "end"}


async def test_inputs_that_are_lost_with_the_broker_fail_their_job(peer: Engine, broker: Broker) -> None:
    peer.publish("executor/python/run_block", peer.payload("ours", "early"))
    # The engine has given them, and what it gives now isn't them.
    peer._inputs["early"] = None
    end = await peer.until(lambda topic, each: each["type"] == "BlockFinished" and each["job_id"] == "early")
    assert "error" in end[0]
