"""The commands about sessions: what they need, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncblock.cli.app import app


@pytest.mark.parametrize(
    "line", ["watch s1", "cancel s1", "outputs s1", "sessions prune --keep 1"], ids=lambda line: line.split()[0]
)
def test_without_a_mainframe_it_is_said_how_to_get_one(line: str, tmp_path: Path) -> None:
    words = [*line.split(), "--data-dir", str(tmp_path / "nothing")]
    done = CliRunner().invoke(app, words, env={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert done.exit_code == 2
    assert "asyncblock serve" in done.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sessions prune", "--older AGE, --keep N, or both"),
        ("sessions --state asleep", "--state"),
        ("sessions --limit few", "few"),
        ("page --port 99999", "--port"),
        ("watch s1 --offset -1", "--offset"),
        ("export s1", "DIR"),
    ],
)
def test_what_cannot_be_meant_is_bad_usage(line: str, words: str) -> None:
    done = CliRunner().invoke(app, line.split(), env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert words in done.output
