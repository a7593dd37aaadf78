"""What is told of a run, in one line."""

from __future__ import annotations

import orjson

from asyncblock.testing.chaos.audit import Audit
from asyncblock.testing.chaos.outcome import Outcome
from asyncblock.testing.chaos.streamaudit import StreamAudit


def test_a_set_s_stream_counts_and_one_mainframe_has_none() -> None:
    alone = Outcome(1, Audit(journaled=2), {"cut": 1}, 3, 4, {"alone": 4}, 0, seconds=60.0)
    assert alone.clean
    assert orjson.loads(alone.to_json())["seconds"] == 60.0
    assert "fenced" not in orjson.loads(alone.to_json())
    faults = {"owner": 2, "node": 1, "cut": 5}
    fenced = Outcome(1, Audit(), faults, 3, 4, {}, 0, stream=StreamAudit(fenced=1, words=["one"]), owners=3)
    told = orjson.loads(fenced.to_json())
    assert (fenced.clean, told["fenced"], told["owners"], told["kills"]) == (False, 1, 3, 3)
    broken = Outcome(1, Audit(words=["two"]), {}, 0, 0, {}, 0, stream=StreamAudit(), broken=("member 1 has ended",))
    assert (broken.clean, broken.words) == (False, ["member 1 has ended", "two"])
