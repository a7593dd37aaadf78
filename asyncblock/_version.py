"""The release: said to mainframes, in reports and by the commands. In a file of its own, for every floor may ask."""

from __future__ import annotations

from functools import cache

__all__ = ["installed_version"]


@cache
def installed_version() -> str:
    """Return the version that the installed distribution has; ``0.0`` where none is installed."""
    # Here, for it costs several times what the rest of importing asyncblock does.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("asyncblock")
    except PackageNotFoundError:
        # Files on PYTHONPATH alone: pyproject.toml calls a copy that knows no better the same.
        return "0.0"
