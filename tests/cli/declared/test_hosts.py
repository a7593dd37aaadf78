"""The commands of operators reach what does them with what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncblock.cli.app import app


def invoke(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(each) for each in words], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_a_backup_is_of_the_directory_that_is_named(tmp_path: Path) -> None:
    code, output = invoke("backup", tmp_path / "copy", "--data-dir", tmp_path / "none")
    assert code == 2
    assert str(tmp_path / "none") in output
    assert not (tmp_path / "copy").exists()


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    (tmp_path / "no backup").mkdir()
    code, output = invoke("restore", tmp_path / "no backup", "--data-dir", tmp_path / "data")
    assert code == 2
    assert "no backup" in output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words", [("serve", "--port", "70000"), ("serve", "--synchronous", "off"), ("executor", "--sync-slots", "0")]
)
def test_a_wrong_number_or_choice_is_bad_usage(words: tuple[str, ...]) -> None:
    code, output = invoke(*words)
    assert code == 2
    assert words[1] in output
