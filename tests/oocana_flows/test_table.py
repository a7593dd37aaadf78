"""Flows as their authors have them, each a directory with what is expected of it, run by the command in both modes.

``expected.yaml`` says for each node the inputs of its jobs (or how many there are), the flow's outputs, and words that
warnings have; ``ours`` and ``theirs`` where the modes differ, ``refused`` where the flow doesn't run. The blocks are
written for the package ``oocana``.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import asyncblock
from asyncblock import events
from asyncblock.errors import InvalidFlow
from asyncblock.flow import load_flow

from ..flows import all_of, end_of

pytest.importorskip("oocana", reason="needs the extra 'oocana'")

PACKAGE = Path(__file__).parent / "package"
SEARCHED = tuple(sorted((Path(__file__).parent / "searched").iterdir()))
TABLE = sorted(path.parent for path in PACKAGE.glob("flows/*/expected.yaml"))
MODES = (None, "oocana")


def expected_of(flow: Path, compat: str | None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((flow / "expected.yaml").read_text())
    if "ours" in found:
        found = found["ours" if compat is None else "theirs"]
    return found


def is_told(words: list[str], lines: list[str]) -> bool:
    return all(any(each in line for line in lines) for each in words)


@pytest.mark.parametrize("compat", MODES, ids=["ours", "theirs"])
async def test_each_flow_has_its_jobs_inputs_and_outputs(compat: str | None, tmp_path: Path) -> None:
    """All of them on one mainframe, one after the other, in one executor process."""
    assert len(TABLE) > 15
    async with asyncblock.embedded(tmp_path, workers=1) as mainframe:
        for flow in TABLE:
            expected = expected_of(flow, compat)
            try:
                plan = load_flow(flow, search_paths=SEARCHED, compat=compat)
            except InvalidFlow as error:
                refused = expected.get("refused", [])
                assert refused, (flow.name, str(error))
                assert is_told(refused, [each.message for each in error.problems]), (flow.name, str(error))
                continue
            assert "refused" not in expected, flow.name
            assert is_told(expected.get("warnings", []), [each.message for each in plan.warnings]), flow.name
            session = await mainframe.start(flow, search_paths=SEARCHED, compat=compat)
            check(flow.name, expected, [event async for event in session])


def check(name: str, expected: dict[str, Any], found: list[events.Event]) -> None:
    end = end_of(found)
    assert (end.state, end.error, end.outputs) == ("succeeded", None, expected["outputs"]), name
    finished = all_of(found, events.BlockFinished)
    assert [each.error for each in finished if each.error is not None] == [], name
    # Each block of the package says what it was given.
    given: dict[str, list[Any]] = defaultdict(list)
    for each in all_of(found, events.BlockMessage):
        given[each.node_id].append(each.payload)
    for node, wanted in expected["jobs"].items():
        if isinstance(wanted, int):
            assert len([each for each in finished if each.node_id == node]) == wanted, (name, node)
        elif node in expected.get("in_any_order", ()):
            assert sorted(map(str, given[node])) == sorted(map(str, wanted)), (name, node)
        else:
            assert given[node] == wanted, (name, node)
    assert {each.node_id for each in finished} == set(expected["jobs"]), name
    told = [each.warning for each in all_of(found, events.BlockWarning)]
    assert [each for each in told if "blocked the event loop" not in each] == expected.get("told", []), name
