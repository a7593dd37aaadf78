"""The page's benchmark runs whole with a real browser, and says what is missing where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks import page
from benchmarks.__main__ import main
from benchmarks.chromium import look_for
from benchmarks.rounds import NotMeasured

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.timeout(400)  # four browsers, one after the other
def test_a_short_run_has_a_figure_for_each_case() -> None:
    try:
        look_for()
    except NotMeasured as problem:
        pytest.skip(str(problem))
    command = [sys.executable, "-m", "benchmarks", "page", "--quick", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=380)
    assert ran.returncode == 0, ran.stderr.decode()
    [line] = ran.stdout.splitlines()
    found = orjson.loads(line)
    assert list(found["asyncblock"]) == [case.name for case in page.cases(True)] == list(found["conditions"]["must"])
    assert all(figure > 0 for figure in found["asyncblock"].values()), found["asyncblock"]
    assert found["asyncblock"]["preview_p50"] <= found["asyncblock"]["preview_p99"]
    crowd = found["conditions"]["with 20 followers"]
    assert crowd["without"] > 0 and crowd["interval"] is None  # one pair of runs has none
    assert found["conditions"]["session"] == "10,000 outputs, 50 previews"


def test_where_there_is_no_browser_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["page", "--quick"]) == 1
    assert (
        "page isn't measured: it needs chromium and chromedriver: apt-get install chromium" in capsys.readouterr().err
    )
