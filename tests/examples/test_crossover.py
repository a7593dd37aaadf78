"""The example ``crossover``: a block that runs blocks, against the same figures computed another way."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of

SAMPLE = Path(matplotlib.get_data_path(), "sample_data", "Stocks.csv")


def prices_of(ticker: str) -> list[float]:
    with SAMPLE.open() as file:
        return [float(row[ticker]) for row in csv.DictReader(x for x in file if x[0] != "#") if row[ticker]]


def growth_of(prices: list[float], window: int) -> float:
    growth = 1.0
    for month in range(window, len(prices)):
        if prices[month - 1] > sum(prices[month - window : month]) / window:
            growth *= prices[month] / prices[month - 1]
    return growth


@pytest.mark.parametrize("ticker", ["IBM", "AAPL"])
async def test_the_search_finds_a_window_that_no_neighbour_beats(tmp_path: Path, ticker: str) -> None:
    async with asyncblock.embedded(tmp_path) as mainframe:
        found = [event async for event in await mainframe.start("crossover", {"ticker": ticker})]
    end = end_of(found)
    assert end.state == "succeeded", end.error
    best = end.outputs["best"]
    prices = prices_of(ticker)
    assert best["growth"] == pytest.approx(growth_of(prices, best["window"]))
    assert best["held"] == pytest.approx(prices[-1] / prices[0])
    for neighbour in (best["window"] - 1, best["window"] + 1):
        assert neighbour < 2 or neighbour > 32 or growth_of(prices, neighbour) <= best["growth"] * (1 + 1e-9)
    trials = [e for e in all_of(found, events.JobCreated) if e.node_id == "run_block::self::trial"]
    assert len(trials) == best["trials"] == len(all_of(found, events.BlockJobFinished))
    assert len({e.job_id for e in trials}) == best["trials"] < 31


@pytest.mark.parametrize(
    ("inputs", "words"),
    [({"ticker": "NONE"}, "has no column 'NONE'; it has IBM"), ({"path": "/nowhere.csv"}, "/nowhere.csv")],
)
async def test_an_input_that_is_no_good_is_named(tmp_path: Path, inputs: dict[str, str], words: str) -> None:
    async with asyncblock.embedded(tmp_path) as mainframe:
        end = await (await mainframe.start("crossover", inputs)).wait()
    assert words in (end.error or "")
