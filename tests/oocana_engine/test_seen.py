"""What the command says of two runs: a check of the check, without an engine."""

from __future__ import annotations

from typing import Any

from .seen import Seen, differences, plain

VAR = {"__OOMOL_TYPE__": "oomol/var", "value": {"executor": "python", "handle": "a", "job_id": "1"}}


def run(*jobs: tuple[str, Any, dict[str, Any]], error: str | None = None) -> Seen:
    """Return a run in which each of these had one job: node, inputs, end."""
    messages: list[dict[str, Any]] = [{"type": "SessionStarted"}]
    for number, (node, inputs, end) in enumerate(jobs):
        where = {"job_id": str(number), "stacks": [{"node_id": each} for each in node.split("/")]}
        messages += [{"type": "BlockStarted", "inputs": inputs, **where}, {"type": "BlockFinished", **end, **where}]
    return Seen.of([*messages, {"type": "SessionFinished", **({} if error is None else {"error": error})}], {})


def test_runs_are_the_same_whatever_their_ids_and_order() -> None:
    one = ("n", {"x": VAR}, {"result": {"out": 3.0}})
    two: tuple[str, Any, dict[str, Any]] = ("n", {"x": "at 2026-01-02 03:04:05.6"}, {})
    other = ("n", {"x": {**VAR, "serialize_path": None}}, {"result": {"out": 3}})
    assert differences(run(one, two), run(("n", {"x": "at 2027-01-02 03:04:05.7"}, {}), other)) == []


def test_each_difference_is_said() -> None:
    good = run(("n", {"x": 1}, {"result": {"out": 1}}), ("sub/m", None, {}))
    assert differences(good, run(("n", {"x": 1}, {"result": {"out": 1}})))[0] == "sub/m: 0 jobs, not 1"
    assert differences(good, run(("n", {"x": 2}, {"result": {"out": 1}}), ("sub/m", None, {}))) == [
        'n: inputs {"x":2}, not {"x":1}'
    ]
    assert differences(good, run(("n", {"x": 1}, {"result": {"out": 2}}), ("sub/m", None, {})), whole=False) == [
        'n: outputs ["out",2], not ["out",1]'
    ]
    failed = run(("n", {"x": 1}, {"error": "Traceback\nValueError: no"}), ("sub/m", None, {}), error="n failed")
    assert differences(good, failed) == [
        "its end is 'n failed', not well",
        'n: outputs none more, not ["out",1]',
        "n: 1 jobs failed, not 0: ValueError: no",
    ]
    assert differences(good, Seen())[0] == "it has no end"


def test_what_is_of_one_run_only_is_taken_out() -> None:
    value = {"p": "/a/b/session/f.csv", "id": "0b9a1c8e-1111-2222-3333-444455556666", "v": [VAR]}
    assert plain(value, {"/a/b": "<work>"}) == {
        "p": "<work>/session/f.csv",
        "id": "<id>",
        "v": [{"__OOMOL_TYPE__": "oomol/var"}],
    }
