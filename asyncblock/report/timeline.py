"""The timeline: attempts as bars, in lanes of executors and their slots."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ..page.markup import Markup, el, join
from ..page.views import Axis, Bar, lanes
from .amounts import PHASES, clock, duration
from .collect import Collected

__all__ = ["MOST_BARS", "timeline"]

MOST_BARS: Final = 1_500

_TICKS = 8


def timeline(collected: Collected, critical: Collection[str], most: int | None) -> tuple[Markup, int]:
    """Return the timeline and how many attempts aren't in it."""
    state, now = collected.state, collected.now
    rows, left_out = lanes(state, now, most)
    bars = [bar for row in rows for bar in row.bars]
    if not bars:
        return el("p", "No job has begun yet.", class_="empty"), left_out
    begin = min(state.began or bars[0].begin, *(bar.begin for bar in bars))
    busy = [(a, b) for bar in bars for phase, a, b in bar.spans if phase in ("start", "work")]
    axis = Axis(begin, max(now if not state.over else 0, *(bar.end for bar in bars)), busy)
    drawn: list[Markup] = []
    link: str | None = None
    for row in rows:
        if row.link != link:
            link = row.link
            words = f"executor {link}" if link else "no executor yet"
            drawn.append(el("div", words, class_="executor"))
        drawn.append(
            el(
                "div",
                el("span", f"slot {row.slot + 1}", class_="slot"),
                el("div", [_bar(bar, axis, critical) for bar in row.bars], class_="lane"),
                class_="row",
            )
        )
    ticks = [el("span", clock(t - begin), class_="tick", style=_left(axis.place(t))) for t in axis.ticks(_TICKS)]
    breaks = [
        el("span", el("i", f"{duration(b - a)} idle"), class_="idle", style=_span(axis, a, b)) for a, b in axis.breaks
    ]
    legend = el(
        "div",
        [el("span", el("i", class_=f"dot p-{phase}"), words) for phase, words in PHASES.items() if phase != "value"],
        el("span", el("i", class_="dot ring"), "critical path"),
        class_="legend",
    )
    chart = el(
        "div",
        el("div", el("span", class_="slot"), el("div", ticks, class_="lane axis"), class_="row"),
        el("div", el("span", class_="slot"), el("div", breaks, class_="lane"), class_="row breaks") if breaks else None,
        drawn,
        class_="timeline",
    )
    note = el("p", f"The {left_out:,} shortest attempts aren't drawn.", class_="note") if left_out else None
    return join([legend, el("div", chart, class_="scroll"), note]), left_out


def _left(place: float) -> str:
    return f"left:{place * 100:.3f}%"


def _span(axis: Axis, a: int, b: int) -> str:
    left = axis.place(a)
    return f"left:{left * 100:.3f}%;width:{(axis.place(b) - left) * 100:.3f}%"


def _bar(bar: Bar, axis: Axis, critical: Collection[str]) -> Markup:
    job, attempt = bar.job, bar.job.attempts[bar.number]
    times = [f"{PHASES[phase]} {duration(b - a)}" for phase, a, b in bar.spans]
    again = f", attempt {attempt.number}" if attempt.number > 1 else ""
    error = f"\n{attempt.error}" if attempt.error else ""
    words = f"{job.node}{again}: {', '.join(times) or 'no time'}{error}"
    parts = [el("i", class_=f"p-{phase}", style=_within(bar, axis, a, b)) for phase, a, b in bar.spans]
    state = "failed" if attempt.error is not None else job.state
    return el(
        "span",
        parts,
        el("b", job.node),
        class_=f"bar s-{state}" + (" critical" if job.job_id in critical else ""),
        style=_span(axis, bar.begin, bar.end),
        title=words[:600],
    )


def _within(bar: Bar, axis: Axis, a: int, b: int) -> str:
    left, right = axis.place(bar.begin), axis.place(bar.end)
    width = max(right - left, 1e-9)
    x, y = axis.place(a), axis.place(b)
    return f"left:{(x - left) / width * 100:.2f}%;width:{(y - x) / width * 100:.2f}%"
