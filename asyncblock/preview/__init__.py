"""Previews: values turned into something that people can look at. Nothing is imported that the value didn't bring.

``convert`` is pure and runs on worker threads; the caller's payload is never changed.
"""

from __future__ import annotations

from .convert import convert

__all__ = ["convert"]
