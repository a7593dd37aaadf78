"""Scale: throughput and peak memory of one session from 10^4 to 10^7 outputs.

As ``throughput`` with 100 jobs and a subscriber; what grows with the number of outputs must be the journal alone.
"""

from __future__ import annotations

from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "measure"]


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    return [
        Case(f"10^{n}", Subject(f"10^{n}", "benchmarks.throughput:outputs", numbers), "rate", "outputs/s")
        for n in ((4, 5) if quick else (4, 5, 6, 7))
        for numbers in ({"jobs": 100, "count": 10**n // 100, "size": 100},)
    ]


def measure(quick: bool) -> Result:
    """Measure each size."""
    subjects = [case.subject for case in cases(quick)]
    # The largest takes a minute; the small ones are noisy.
    figures = {
        subject.name: measure_in_turns([subject], 1 if quick or subject.name == "10^7" else 3).figures[subject.name]
        for subject in subjects
    }
    return Result(
        name="scale",
        unit="outputs/s",
        asyncblock={name: each["rate"] for name, each in figures.items()},
        must={"10^7": ">= 0.8x of 10^5, memory flat"},
        conditions={
            "peak MB": {
                name: {"executor": round(each["peak_mb"]), "mainframe": round(each["mainframe_peak_mb"])}
                for name, each in figures.items()
            }
        },
    )
