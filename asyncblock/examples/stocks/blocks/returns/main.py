"""Monthly returns of each ticker."""

from __future__ import annotations

from typing import Any

import pandas as pd

from asyncblock import Context


def monthly_returns(prices: pd.DataFrame) -> pd.DataFrame:
    """Return the relative change from month to month; months without a price have none."""
    return prices.pct_change(fill_method=None)


async def main(inputs: dict[str, Any], ctx: Context) -> None:
    returns = monthly_returns(inputs["prices"])
    await ctx.report_progress(50)
    await ctx.preview(returns.describe().reset_index())
    await ctx.output(returns, "returns")
