"""``.ci/deploy`` says of each part of ``docs/deploy/`` what came of it, and fails where something did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT

PARTS = (".ci/deploy", "docs/deploy")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd isn't here")
@pytest.mark.timeout(120)
def test_what_is_wrong_with_a_unit_fails_and_what_cant_run_has_its_reason(tmp_path: Path) -> None:
    for name in PARTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    unit = tmp_path / "docs" / "deploy" / "asyncblock.service"
    unit.write_text(unit.read_text("utf-8").replace("Type=notify", "Type=notifying"), "utf-8")
    # A Python whose pytest runs nothing, no registry, and no engine: only what is looked at here.
    place = tmp_path / "bin"
    place.mkdir()
    for name, words in (("python", "exit 0"), ("asyncblock", "exit 0"), ("podman", "echo no network >&2; exit 125")):
        (place / name).write_text(f"#!/bin/sh\n{words}\n")
        (place / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [tmp_path / ".ci" / "deploy", place / "python"], env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  systemd takes asyncblock.service" in lines
    assert "ok      systemd takes asyncblock-executor.service" in lines
    [image] = [line for line in lines if line.startswith("not run the image: podman can't run")]
    assert image.endswith("no network")
    assert any(line.startswith("not run compose.yaml: ") for line in lines)


def test_a_python_without_asyncblock_is_told(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    done = subprocess.run([ROOT / ".ci" / "deploy", tmp_path / "python"], capture_output=True, text=True, check=False)
    assert (done.returncode, "has no asyncblock beside it" in done.stdout) == (2, True)
