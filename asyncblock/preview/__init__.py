"""Previews: values turned into something that people can look at, without hurting the run.

``Making`` takes what is shown at the call, converts it on worker threads, and draws figures in a worker process;
``register`` adds kinds of values. ``Limits`` are applied before a conversion. Nothing is imported that the value
didn't bring; the caller's payload is never changed.
"""

from __future__ import annotations

from .about import about
from .limits import Limits, default_limits, set_default_limits
from .making import Making
from .registry import register
from .renderer import close_worker, keep_worker, release_worker, worker_pid
from .rows import Pages

__all__ = [
    "Limits",
    "Making",
    "Pages",
    "about",
    "close_worker",
    "default_limits",
    "keep_worker",
    "register",
    "release_worker",
    "set_default_limits",
    "worker_pid",
]
