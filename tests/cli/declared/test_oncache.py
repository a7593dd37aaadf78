"""The commands about the cache of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asyncblock.cli.app import app


@pytest.mark.parametrize("words", [(), ("--older", "1d", "--all")])
def test_it_has_to_be_said_which_results_may_go(words: tuple[str, ...], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cache", "prune", *words], env={"XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"})
    assert done.exit_code == 2
    assert "--older AGE, or --all" in done.output


def test_an_empty_cache_is_shown_and_pruned(tmp_path: Path) -> None:
    for words in (("cache", "--json"), ("cache", "prune", "--all", "--json")):
        done = CliRunner().invoke(app, words, env={"XDG_STATE_HOME": str(tmp_path)})
        assert done.exit_code == 0
        assert isinstance(json.loads(done.stdout), dict)
