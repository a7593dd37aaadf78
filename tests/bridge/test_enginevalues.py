"""Values on their way between the engine and blocks: those that stay, bytes in files, large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import NEEDS_MOSQUITTO, Engine, outputs

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_values_that_stay_and_bytes_go_from_job_to_job(peer: Engine) -> None:
    made = (await peer.end(peer.run("makes", {}, outputs=("var", "bin"))))["result"]
    assert made["var"]["__OOMOL_TYPE__"] == "oomol/var" and made["bin"]["__OOMOL_TYPE__"] == "oomol/bin"
    path = Path(made["bin"]["value"])
    assert path.is_relative_to(peer.session_dir / "binary" / peer.session_id)
    assert path.read_bytes() == b"\x00\x01" * 40_000
    assert (await peer.end(peer.run("takes", made)))["result"] == {"a": [["here", "kept"], "bytes", 80_000]}


async def test_a_job_whose_bytes_are_gone_fails_with_the_reason(peer: Engine) -> None:
    gone = {"__OOMOL_TYPE__": "oomol/bin", "value": str(peer.session_dir / "gone")}
    end = await peer.end(peer.run("takes", {"var": 1, "bin": gone}))
    assert "gone" in end["error"] and "No such file" in end["error"]


async def test_large_values_pass_whole_in_both_directions(peer: Engine) -> None:
    text = "ä" * 700_000
    job = peer.run("large", {"x": text, "y": text})
    assert (await peer.end(job))["result"] == {"b": 700_000}
    assert outputs(peer, job) == [("a", text + text)]
