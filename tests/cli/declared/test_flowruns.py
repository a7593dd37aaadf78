"""What the commands that run a flow refuse before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncblock.cli.app import app


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run stocks --page --watch", "give --page or --watch"),
        ("run stocks --workers 0", "--workers"),
        ("run stocks --inputs [1]", "--inputs"),
        ("run stocks --compat airflow", "--compat"),
        ("submit stocks --matrix x=1 --inputs-file rows.jsonl", "give --matrix or --inputs-file"),
        ("submit stocks --limit 0", "--limit"),
        ("resume", "SESSION"),
        ("retry", "SESSION"),
    ],
)
def test_what_cannot_be_meant_is_bad_usage(line: str, words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, line.split(), env={"XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"})
    assert done.exit_code == 2
    assert words in done.output
    assert list(tmp_path.iterdir()) == []
