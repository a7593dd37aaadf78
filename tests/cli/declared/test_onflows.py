"""The commands about flows: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from asyncblock.cli.app import app

from ...flows import node, write_flow


def invoke(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(each) for each in words], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


def test_a_flow_that_can_be_run_is_fine(tmp_path: Path) -> None:
    path = write_flow(tmp_path, [node("one", "def main(inputs, ctx): pass", tmp_path)])
    assert invoke("check", path) == (0, f"{path}: fine; 1 node\n", "")
    code, out, _ = invoke("check", path, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    code, out, _ = invoke("check", path, "--plan")
    assert (code, [each["node_id"] for each in orjson.loads(out)["nodes"]]) == (0, ["one"])


def test_a_flow_that_cannot_be_run_says_why_in_each_form(tmp_path: Path) -> None:
    path = write_flow(tmp_path, [node("one", "import not_there_at_all\ndef main(inputs, ctx): pass", tmp_path)])
    code, out, err = invoke("check", path)
    assert (code, "not_there_at_all" in out, err) == (2, True, f"{path}: 1 problem\n")
    code, out, _ = invoke("check", path, "--json")
    assert (code, json.loads(out)["ok"]) == (2, False)
    code, out, _ = invoke("check", path, "--elsewhere")
    assert (code, "(warning)" in out) == (0, True)


@pytest.mark.parametrize(("name", "begins"), [("a.mmd", "flowchart"), ("a.gv", "digraph")])
def test_a_picture_is_written_in_the_form_of_its_name(name: str, begins: str, tmp_path: Path) -> None:
    path = write_flow(tmp_path, [node("one", "def main(inputs, ctx): pass", tmp_path)])
    assert invoke("graph", path, "-o", tmp_path / name)[0] == 0
    assert begins in (tmp_path / name).read_text("utf-8").splitlines()[0]


def test_the_language_is_listed_in_one_form_at_a_time() -> None:
    code, out, _ = invoke("flows", "--json")
    assert code == 0
    assert {"name", "state", "note", "yaml", "test"} == set(json.loads(out)[0])
    assert invoke("flows", "--json", "--reference")[0] == 2
