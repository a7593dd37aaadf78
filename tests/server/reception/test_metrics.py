"""What Prometheus's own parsers read at /metrics: histograms of real jobs, under names that OpenMetrics allows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import httpx
import orjson
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

import asyncblock
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.runtime.iothread import shared
from asyncblock.server.histograms import HistogramFamily
from asyncblock.server.reception.metrics import FIGURES, TIMES, histogram_lines

from ...flows import one_block

GOOD = """
async def main(inputs, ctx):
    for number in range(3):
        await ctx.output(number, "out")
"""
BAD = """
async def main(inputs, ctx):
    raise ValueError("no")
"""


async def scraped(directory: Path, accept: str, *bodies: str) -> httpx.Response:
    """Run blocks on a served mainframe, and ask it for its metrics."""
    async with shared().lease() as io, hosted_mainframe(io, directory / "data") as server:
        async with listening(io, server, "127.0.0.1", 0) as url:
            async with asyncblock.connect(url, server.token) as mainframe:
                for number, body in enumerate(bodies):
                    path = one_block(directory / f"f{number}", body)
                    async with asyncblock.Executor(packages=[path.parent]).attached(mainframe):
                        await (await mainframe.start(path)).wait()
            async with httpx.AsyncClient(base_url=url.replace("ws", "http", 1), trust_env=False) as client:
                headers = {"Authorization": f"Bearer {server.token}", "Accept": accept}
                return await client.get("/metrics", headers=headers)


def bucket_counts(metric: Metric, **labels: str) -> list[float]:
    """Return the cumulated counts of a histogram's buckets, in the order of the text."""
    return [
        each.value for each in metric.samples if each.name.endswith("_bucket") and labels.items() <= each.labels.items()
    ]


def value(metric: Metric, ending: str, **labels: str) -> float:
    [found] = [
        each.value for each in metric.samples if each.name.endswith(ending) and labels.items() <= each.labels.items()
    ]
    return found


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
async def test_real_parsers_read_histograms_of_what_has_run(tmp_path: Path, openmetrics: bool) -> None:
    accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
    answer = await scraped(tmp_path, accept, GOOD, BAD)
    assert answer.headers["content-type"].startswith("application/openmetrics-text" if openmetrics else "text/plain")
    families: Iterable[Metric] = (openmetrics_families if openmetrics else text_families)(answer.text)
    found = {metric.name: metric for metric in families}
    assert {f"asyncblock_{name.removesuffix('_total')}" for name in (*FIGURES, *TIMES)} <= found.keys()
    for name in TIMES:
        metric = found[f"asyncblock_{name}"]
        assert metric.type == "histogram"
        assert metric.documentation == TIMES[name]
        if openmetrics:
            assert metric.unit == "seconds"
    assert value(found["asyncblock_job_queue_wait_seconds"], "_count") == 2
    for outcome in ("succeeded", "failed"):
        jobs = found["asyncblock_job_duration_seconds"]
        counts = bucket_counts(jobs, outcome=outcome)
        assert counts == sorted(counts)
        assert counts[-1] == value(jobs, "_count", outcome=outcome) == 1
        assert 0 < value(jobs, "_sum", outcome=outcome) < 60
    for name in ("commit_seconds", "acknowledgement_seconds"):
        assert value(found[f"asyncblock_{name}"], "_count") >= 2


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_labels_of_any_text_are_read_back(openmetrics: bool) -> None:
    odd = [
        'a "quoted" name',
        "two\nlines",
        "back\\slash\\n",
        "nul\0",
        "return\r",
        "lone \udcff",
        "\N{SNOWMAN}",
        "",
        "}",
        ",",
    ]
    family = HistogramFamily(("block", "outcome"), (1.0,))
    for each in odd:
        family.observe(0.5, each, "succeeded")
    lines = ["# TYPE asyncblock_x histogram", "# HELP asyncblock_x words"]
    for (block, outcome), times in family:
        lines += histogram_lines("x", {"block": block, "outcome": outcome}, times)
    text = "\n".join([*lines, "# EOF"] if openmetrics else lines) + "\n"
    text.encode()
    [metric] = (openmetrics_families if openmetrics else text_families)(text)
    read = {sample.labels["block"] for sample in metric.samples}
    unreadable = {"nul\0", "return\r", "lone \udcff"}
    assert read == {*odd} - unreadable | {"nul\ufffd", "return\ufffd", "lone \ufffd"}


def test_the_page_names_the_histograms_and_the_dashboard_asks_for_what_there_is() -> None:
    docs = Path(__file__).parents[3] / "docs"
    page = (docs / "telemetry.md").read_text("utf-8")
    assert [name for name in TIMES if f"`asyncblock_{name}`" not in page] == []
    dashboard = orjson.loads((docs / "dashboard.json").read_bytes())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\basyncblock_(\w+)", target["expr"])
    }
    there = {
        *FIGURES,
        "sessions",
        *(f"{name}_{ending}" for name in TIMES for ending in ("bucket", "count", "sum")),
    }
    assert asked <= there
    assert set(FIGURES) <= asked, "the dashboard has all of them, says the page"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
