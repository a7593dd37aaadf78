from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncblock.flow import load_flow
from asyncblock.flow.retries import retry_problem

from .packages import block, problems, write


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("often", "a whole number, or a mapping"), (-1, "a whole number"), (True, "a whole number"),
        ({"retry": 1}, "no 'retry'; there is retries, backoff"), ({"retries": 1.5}, "from 0"),
        ({"backoff": -1}, "seconds from 0"), ({"not_retried": "ValueError"}, "a list of names"),
        ({"release": "late"}, "must be 'finish'"),
    ],
)  # fmt: skip
def test_retries_that_mean_nothing_are_refused(found: Any, words: str) -> None:
    assert words in str(retry_problem(found))


@pytest.mark.parametrize("found", [0, 3, {}, {"retries": 2, "backoff": 0.5, "not_retried": ["E"], "release": "stream"}])
def test_retries_that_are_fine_are_taken(found: Any) -> None:
    assert retry_problem(found) is None


def test_a_manifest_says_how_often_and_whether_its_function_is_plain(tmp_path: Path) -> None:
    block(tmp_path, "often", "", "", source="def main(inputs, ctx): ...\n", more="retries: {backoff: 2}\n")
    path = write(tmp_path / "flows/f/flow.oo.yaml", "nodes: [{node_id: n, task: self::often}]\n")
    spec = load_flow(path).nodes[0].block
    assert spec["retries"] == {"retries": 1, "backoff": 2}
    assert spec["sync"] is True
    block(tmp_path, "often", "", "", more="retries: never\n")
    [(file, line, message)] = problems(path)
    assert (file, line) == ("block.oo.yaml", 4)
    assert "'retries' must be a whole number" in message
