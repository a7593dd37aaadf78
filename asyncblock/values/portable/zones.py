"""Time zones by name: those of zoneinfo, pytz and the fixed ones, each as the class that it was."""

from __future__ import annotations

import datetime
import importlib
from typing import Any

from ...errors import LocalProtocolError
from .refusals import NotPortable, key_of

__all__ = ["placed", "placing_form", "zone_form", "zone_of"]


def zone_form(zone: Any) -> list[Any] | None:
    """Return what JSON has of a time zone. Raises ``NotPortable`` for one without a name."""
    if zone is None:
        return None
    kind = type(zone)
    if kind is datetime.timezone:
        if zone == datetime.UTC and zone.tzname(None) == "UTC":
            return ["utc"]
        offset = zone.utcoffset(None)
        if zone == datetime.timezone(offset) and zone.tzname(None) == datetime.timezone(offset).tzname(None):
            return ["fixed", offset.days, offset.seconds, offset.microseconds]
    elif kind.__module__.startswith("zoneinfo") and zone.key:
        return ["zoneinfo", zone.key]
    elif kind.__module__.startswith("pytz") and getattr(zone, "zone", None):
        return ["pytz", zone.zone]
    elif kind.__module__.startswith("pytz") and hasattr(zone, "_minutes"):
        return ["pytz_fixed", zone._minutes]
    raise NotPortable(f"the time zone {zone!r:.80} ({key_of(kind)}) has no name")


def zone_of(form: list[Any] | None) -> Any:
    """Return the time zone that a form stands for."""
    if form is None:
        return None
    tag, *args = form
    if tag == "utc":
        return datetime.UTC
    if tag == "fixed":
        return datetime.timezone(datetime.timedelta(*args))
    if tag == "zoneinfo":
        return importlib.import_module("zoneinfo").ZoneInfo(args[0])
    if tag in ("pytz", "pytz_fixed"):
        pytz = importlib.import_module("pytz")
        return pytz.timezone(args[0]) if tag == "pytz" else pytz.FixedOffset(args[0])
    raise LocalProtocolError(f"a time zone is written as {tag!r}, of which nothing is known here")


def placing_form(value: Any, bare: Any) -> list[Any] | None:
    """Return what JSON has of the zone of a moment, which is ``bare`` without it. Raises ``NotPortable``.

    pytz has an object for each offset that a zone has ever had, and the zone itself is the first of them.
    """
    zone = value.tzinfo
    form = zone_form(zone)
    if form is None or form[0] != "pytz" or zone is zone_of(form):
        return form
    form = [*form, bool(value.dst())]
    if placed(bare, form).tzinfo is not zone:
        raise NotPortable(f"{value!r:.80} has an offset that its time zone doesn't have then")
    return form


def placed(bare: Any, form: list[Any]) -> Any:
    """Return a moment in the zone that a form stands for."""
    zone = zone_of(form[:2] if form[0] == "pytz" else form)
    return zone.localize(bare, is_dst=form[2]) if form[0] == "pytz" and len(form) > 2 else bare.replace(tzinfo=zone)
