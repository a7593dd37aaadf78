"""The flows of ``tests/oocana_flows`` for the engine: what is expected in the mode that is like it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import yaml

from .seen import Seen

__all__ = ["SEARCHED", "TABLE", "copied", "expected_of", "unlike"]

TABLE = Path(__file__).parent.parent / "oocana_flows" / "package"
SEARCHED = sorted((TABLE.parent / "searched").iterdir())


def expected_of(flow: Path) -> dict[str, Any]:
    """Return what the engine does with a flow of the table."""
    found: dict[str, Any] = yaml.safe_load((flow / "expected.yaml").read_text())
    return found.get("theirs", found)  # type: ignore[no-any-return]


def copied(to: Path) -> list[Path]:
    """Copy the table and return its flows. The engine tells of no output of a session's own flow, only of a subflow's:
    so flows that have outputs are wrapped.
    """
    shutil.copytree(TABLE, to, ignore=shutil.ignore_patterns("__pycache__"))
    flows = sorted(path.parent for path in to.glob("flows/*/expected.yaml"))
    for flow in flows:
        content = yaml.safe_load((flow / "flow.oo.yaml").read_text())
        if not content.get("outputs_from"):
            continue
        content["outputs_def"] = [{"handle": each["handle"]} for each in content["outputs_from"]]
        inner = to / "subflows" / f"of-{flow.name}"
        inner.mkdir(parents=True)
        (inner / "subflow.oo.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        outer = {"nodes": [{"node_id": "flow", "subflow": f"self::{inner.name}"}]}
        (flow / "flow.oo.yaml").write_text(yaml.safe_dump(outer))
    return flows


def unlike(expected: dict[str, Any], seen: Seen) -> list[str]:
    """Say how a run differs from what is expected."""
    said = [] if seen.ended else ["it has no end"]
    if seen.error is not None:
        said.append(f"its error is {seen.error!r}")
    failed = {node.rpartition("/")[2]: errors for node, errors in seen.failed.items()}
    said += [f"{node} failed: {failed[node][0]}" for node in {*failed} - {*expected.get("fails_alone", ())}]
    ended = Counter(node.rpartition("/")[2] for node, jobs in seen.jobs.items() for _ in jobs)
    for node, wanted in expected["jobs"].items():
        found = seen.messages.get(node, [])
        if isinstance(wanted, int):
            if ended[node] != wanted:
                said.append(f"{node}: {ended[node]} jobs, not {wanted}")
        elif sorted(map(_text, found)) != sorted(map(_text, wanted)) or (
            found != wanted and node not in expected.get("in_any_order", ())
        ):
            said.append(f"{node}: given {found}, not {wanted}")
    if more := sorted({*seen.messages} - {*expected["jobs"]}):
        said.append(f"these ran, too: {', '.join(more)}")
    if seen.flow_outputs != expected["outputs"]:
        said.append(f"outputs {seen.flow_outputs}, not {expected['outputs']}")
    told = [each for each in seen.warnings if "blocked the event loop" not in each]
    if told != expected.get("told", []):
        said.append(f"warnings {told}")
    return said


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
