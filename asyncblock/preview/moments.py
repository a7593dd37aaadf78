"""Nanoseconds: moments, times and durations of more digits than Python's types have, as text with all of them."""

from __future__ import annotations

import datetime

__all__ = ["duration_text", "moment_text", "time_text"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def moment_text(nanoseconds: int, zone: datetime.tzinfo | None) -> str:
    """Return the ISO form of a moment since 1970; without a zone it is a clock's reading."""
    microseconds, rest = divmod(nanoseconds, 1000)
    moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
    moment = moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)
    if not rest:
        return moment.isoformat()
    reading = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    offset = moment.isoformat(timespec="microseconds")[len(reading) :]
    return f"{reading}{rest:03d}{offset}"


def time_text(nanoseconds: int) -> str:
    """Return the ISO form of a time of day."""
    microseconds, rest = divmod(nanoseconds, 1000)
    time = (_EPOCH + datetime.timedelta(microseconds=microseconds)).time()
    return f"{time.isoformat(timespec='microseconds')}{rest:03d}" if rest else time.isoformat()


def duration_text(nanoseconds: int) -> str:
    """Return a duration as Python writes it, with three digits more where there are any."""
    microseconds, rest = divmod(nanoseconds, 1000)
    duration = datetime.timedelta(microseconds=microseconds)
    if not rest:
        return str(duration)
    return f"{duration}{'' if duration.microseconds else '.000000'}{rest:03d}"
