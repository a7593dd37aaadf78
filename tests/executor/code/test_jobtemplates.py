from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from asyncblock.executor.code import jobtemplates
from asyncblock.executor.code.jobtemplates import JobTemplates, slim
from asyncblock.wire.messages import Dispatch

BLOCK = {
    "package": "python:pack",
    "hash": "h",
    "inputs_def": [{"handle": "a"}, "no definition", {"no": "handle"}],
    "outputs_def": [
        {"handle": "kept", "json_schema": {"contentMediaType": "oomol/var"}},
        {"handle": "raw", "json_schema": {"contentMediaType": "oomol/bin"}},
        {"handle": "plain"},
    ],
}
STACKS = [{"flow_job_id": "s", "flow": "flow.oo.yaml", "node_id": "n"}]


def dispatch(job_id: str = "j", **changes: Any) -> Dispatch:
    message = Dispatch(job_id, 1, 7, "s", "n", STACKS, BLOCK, {"a": 1}, block_path="block.oo.yaml")
    # What comes over the wire is equal, and never the same object.
    copy = orjson.loads(orjson.dumps({"stacks": message.stacks, "block": message.block}))
    return replace(message, **{**copy, **changes})


def test_a_template_is_what_a_dispatch_declares() -> None:
    template = JobTemplates().of(dispatch())
    assert template.inputs_def == {"a": {"handle": "a"}}
    assert template.outputs_def is not None and list(template.outputs_def) == ["kept", "raw", "plain"]
    assert (set(template.var_handles), set(template.bin_handles), template.package) == ({"kept"}, {"raw"}, "pack")
    assert template.stacks == tuple(STACKS)
    assert template.block_path == "block.oo.yaml"


def test_a_slim_dispatch_says_all_that_its_template_does_not() -> None:
    message = dispatch()
    template = JobTemplates().of(message)
    small = slim(dispatch(bodies={"b": {"n": 1}}), template)
    assert small.block is template.block
    assert (small.job_id, small.attempt, small.channel) == (message.job_id, message.attempt, message.channel)
    assert (small.inputs, small.bodies) == (message.inputs, {"b": {"n": 1}})
    assert (small.session_id, small.node_id) == ("s", "n")


def test_jobs_of_a_node_share_their_template() -> None:
    known = JobTemplates()
    assert known.of(dispatch("j1")) is known.of(dispatch("j2"))


@pytest.mark.parametrize(
    "changes",
    [
        {"block": {**BLOCK, "hash": "another"}},
        {"block": {**BLOCK, "outputs_def": None}},
        {"stacks": [{**STACKS[0], "flow_job_id": "another run of the subflow"}]},
        {"stacks": ["no level"]},
        {"block_path": None},
        {"node_id": "another"},
        {"session_id": "another"},
    ],
    ids=str,
)
def test_a_dispatch_that_says_something_else_has_another_template(changes: dict[str, Any]) -> None:
    known = JobTemplates()
    known.of(dispatch())
    template = known.of(dispatch(**changes))
    assert template == JobTemplates().of(dispatch(**changes))
    assert template != known.of(dispatch())


def test_templates_are_forgotten_with_their_session() -> None:
    known = JobTemplates()
    first, other = known.of(dispatch()), known.of(dispatch(session_id="another"))
    known.end_session("s")
    assert known.of(dispatch()) is not first
    assert known.of(dispatch(session_id="another")) is other


def test_no_more_templates_are_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobtemplates, "_REMEMBERED", 2)
    known = JobTemplates()
    first, second = (known.of(dispatch(node_id=name)) for name in ("first", "second"))
    known.of(dispatch(node_id="third"))
    assert known.of(dispatch(node_id="second")) is second
    assert known.of(dispatch(node_id="first")) is not first
