"""Rolling volatility and drawdown of each ticker."""

from __future__ import annotations

from typing import Any

import pandas as pd

from asyncblock import Context

WINDOW = 12
"""Months of the rolling window."""


def rolling_volatility(prices: pd.DataFrame) -> pd.DataFrame:
    """Return the standard deviation of monthly returns over a year, annualised."""
    volatility: pd.DataFrame = prices.pct_change(fill_method=None).rolling(WINDOW).std()
    return volatility.mul(WINDOW**0.5)


def drawdown(prices: pd.DataFrame) -> pd.DataFrame:
    """Return how far each price is below its highest so far: 0 at a high, -0.5 at half of it."""
    return prices / prices.cummax() - 1


async def main(inputs: dict[str, Any], ctx: Context) -> None:
    prices = inputs["prices"]
    await ctx.output(rolling_volatility(prices), "volatility")
    await ctx.report_progress(50)
    await ctx.output(drawdown(prices), "drawdown")
