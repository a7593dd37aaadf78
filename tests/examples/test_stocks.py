"""The example ``stocks``: its figures against figures computed another way, and what it shows on its way."""

from __future__ import annotations

import csv
import math
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

import asyncblock
from asyncblock import events
from asyncblock.examples import examples, find
from asyncblock.flow import load_flow

from ..flows import all_of, end_of

SAMPLE = Path(matplotlib.get_data_path(), "sample_data", "Stocks.csv")


def read_columns(path: Path) -> tuple[list[date], dict[str, list[float | None]]]:
    """Read the CSV with nothing but the standard library."""
    with path.open() as file:
        rows = list(csv.reader(line for line in file if not line.startswith("#")))
    columns: dict[str, list[float | None]] = {name: [] for name in rows[0][1:]}
    dates = []
    for row in rows[1:]:
        values = [float(cell) if cell else None for cell in row[1:]]
        if any(value is not None for value in values):
            dates.append(date.fromisoformat(row[0]))
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    return dates, columns


def filled(column: list[float | None]) -> list[float | None]:
    """Carry a price forward over at most three months."""
    made: list[float | None] = []
    gap = 0
    last: float | None = None
    for value in column:
        gap = 0 if value is not None else gap + 1
        last = value if value is not None else last
        made.append(last if gap <= 3 else None)
    return made


def figures(dates: list[date], column: list[float | None]) -> dict[str, Any]:
    prices = filled(column)
    known = [(when, price) for when, price in zip(dates, prices, strict=True) if price is not None]
    returns = [
        (dates[i], now / before - 1)
        for i in range(1, len(prices))
        if (now := prices[i]) is not None and (before := prices[i - 1]) is not None
    ]
    mean = sum(value for _, value in returns) / len(returns)
    deviation = math.sqrt(sum((value - mean) ** 2 for _, value in returns) / (len(returns) - 1))
    high, deepest = 0.0, 0.0
    for _, price in known:
        high = max(high, price)
        deepest = min(deepest, price / high - 1)
    growth = known[-1][1] / known[0][1]
    worst = min(returns, key=lambda each: each[1])
    years = (known[-1][0] - known[0][0]).days / 365.25
    return {
        "months": len(known),
        "total_return": growth - 1,
        "annual_return": growth ** (1 / years) - 1,
        "volatility": deviation * math.sqrt(12),
        "max_drawdown": deepest,
        "worst_month": {"date": f"{worst[0].isoformat()}T00:00:00", "return": worst[1]},
    }


def check_summary(summary: dict[str, Any], path: Path) -> None:
    dates, columns = read_columns(path)
    assert summary["rows"] == len(dates)
    assert summary["first"] == f"{dates[0].isoformat()}T00:00:00"
    assert summary["last"] == f"{dates[-1].isoformat()}T00:00:00"
    assert set(summary["tickers"]) == set(columns)
    for ticker, column in columns.items():
        expected, found = figures(dates, column), summary["tickers"][ticker]
        assert found["months"] == expected["months"]
        assert found["worst_month"]["date"] == expected["worst_month"]["date"]
        assert found["worst_month"]["return"] == pytest.approx(expected["worst_month"]["return"], rel=1e-9)
        for name in ("total_return", "annual_return", "volatility", "max_drawdown"):
            assert found[name] == pytest.approx(expected[name], rel=1e-9), (ticker, name)
    totals = {ticker: figures(dates, column)["total_return"] for ticker, column in columns.items()}
    assert summary["best"] == max(totals, key=lambda ticker: totals[ticker])
    assert summary["worst"] == min(totals, key=lambda ticker: totals[ticker])


async def test_stocks_sums_up_the_sample_data_and_shows_its_work() -> None:
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start("stocks")
        found = [event async for event in session]
        outputs = await session.outputs()
        previews = all_of(found, events.BlockPreview)
        chart = next(event for event in previews if event.id == "chart")
        assert chart.body is not None
        png = await session.fetch(chart.body)
    assert end_of(found).state == "succeeded"
    check_summary(outputs["summary"], SAMPLE)
    assert png["type"] == "image"
    assert png["data"].startswith("data:image/png;base64,iVBOR")
    table = next(event for event in previews if event.node_id == "load").payload
    assert table["type"] == "table"
    assert table["data"]["row_count"] == 524
    assert len(table["data"]["rows"]) == 11
    assert table["data"]["rows"][5] == ["..."] * 11
    assert all_of(found, events.BlockProgress)
    assert any("months have no price" in event.log for event in all_of(found, events.BlockLog))


async def test_the_summary_agrees_with_pandas() -> None:
    """The same figures by the library that the blocks use, in other steps than theirs."""
    prices = pd.read_csv(SAMPLE, comment="#", index_col=0, parse_dates=True).dropna(how="all").ffill(limit=3)
    assert isinstance(prices.index, pd.DatetimeIndex)
    async with asyncblock.embedded(workers=1) as mainframe:
        summary = (await (await mainframe.start("stocks")).outputs())["summary"]
    assert summary["rows"] == len(prices)
    for ticker, found in summary["tickers"].items():
        known = prices[ticker].dropna()
        monthly = (prices[ticker] / prices[ticker].shift(1)).sub(1).dropna()
        drawdown = known.div(known.expanding().max()).sub(1)
        assert found["months"] == known.size
        assert found["total_return"] == pytest.approx(known.iloc[-1] / known.iloc[0] - 1)
        assert found["volatility"] == pytest.approx(monthly.std() * 12**0.5)
        assert found["max_drawdown"] == pytest.approx(drawdown.min())
        assert found["worst_month"]["return"] == pytest.approx(monthly.min())
        assert pd.Timestamp(found["worst_month"]["date"]) == monthly.idxmin()


async def test_two_blocks_of_stocks_run_at_the_same_time() -> None:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start("stocks")
        found = [event async for event in session]
    moments = [
        (type(event), event.node_id)
        for event in found
        if isinstance(event, (events.BlockStarted, events.BlockFinished)) and event.node_id in ("returns", "risk")
    ]
    assert [kind for kind, _ in moments[:2]] == [events.BlockStarted, events.BlockStarted]


async def test_stocks_takes_the_users_own_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("# my own\nday,A,B\n2020-01-01,1,10\n2020-02-01,2,\n2020-03-01,1.5,9\n2020-04-01,3,12\n")
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start("stocks", {"path": str(mine)})
        check_summary((await session.outputs())["summary"], mine)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("date\n2020-01-01\n", "at least one column of prices"),
        ("date,A\nsoon,1\n", "row 2: 'soon' is no date"),
        ("date,A,B\n2020-01-01,1,2\n2020-02-01,1,dear\n", "row 3, column 'B': 'dear' is no price"),
    ],
)
async def test_stocks_says_what_is_wrong_with_a_file(tmp_path: Path, text: str, words: str) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(text)
    async with asyncblock.embedded() as mainframe:
        end = await (await mainframe.start("stocks", {"path": str(mine)})).wait()
    assert words in str(end.error)


def test_every_example_can_be_found_and_loaded_by_its_name() -> None:
    found = examples()
    assert "stocks" in [example.name for example in found]
    for example in found:
        assert example.about
        assert find(example.name) == example.flow
        assert load_flow(example.flow).nodes
    assert find("no such example") is None
    assert find("../stocks") is None
