"""OpenTelemetry's current context: read where a session is started, set where a block runs.

Nothing is imported for that where a session has no trace, or OpenTelemetry isn't installed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .traces import TRACEPARENT, TRACESTATE, Trace

__all__ = ["enter", "headers_of_caller", "leave", "prepare", "prepared"]

_API = "opentelemetry.trace"

_found: bool | None = None
"""Whether OpenTelemetry's API can be imported; None before that was tried."""


def headers_of_caller() -> dict[str, str]:
    """Return the caller's place in a trace, as metadata; empty for a process that doesn't use OpenTelemetry."""
    api = sys.modules.get(_API)
    if api is None or not hasattr(api, "get_current_span"):
        return {}
    place = api.get_current_span().get_span_context()
    if not place.is_valid:
        return {}
    trace = Trace(f"{place.trace_id:032x}", f"{place.span_id:016x}", place.trace_flags.sampled)
    state = place.trace_state.to_header()
    return {TRACEPARENT: trace.traceparent, **({TRACESTATE: state} if state else {})}


def prepared() -> bool:
    """Tell whether ``prepare`` has nothing to do."""
    return _found is not None


def prepare() -> None:
    """Import OpenTelemetry's API, if it is installed. On a worker thread: it takes some 100 ms."""
    global _found
    try:
        importlib.import_module(_API)
        importlib.import_module("opentelemetry.context")
    except ImportError:
        _found = False
    else:
        _found = True


def enter(context: Context, trace: Trace) -> None:
    """Let a place in a trace be OpenTelemetry's current one in a context, once ``prepare`` has been called."""
    if _found:
        context.run(_attach, trace)


def leave(context: Context) -> None:
    """Let no span be the current one in a context: the one that was when an executor began isn't its jobs'."""
    api = sys.modules.get(_API)
    if api is not None and hasattr(api, "INVALID_SPAN"):
        context.run(_detach, api)


def _detach(api: Any) -> None:
    if api.get_current_span().get_span_context().is_valid:
        sys.modules["opentelemetry.context"].attach(api.set_span_in_context(api.INVALID_SPAN))


def _attach(trace: Trace) -> None:
    api: Any = sys.modules[_API]
    attach: Callable[[Any], object] = sys.modules["opentelemetry.context"].attach
    place = api.SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.span_id, 16),
        is_remote=True,
        trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED if trace.sampled else api.TraceFlags.DEFAULT),
        trace_state=api.TraceState.from_header([trace.state]) if trace.state else None,
    )
    attach(api.set_span_in_context(api.NonRecordingSpan(place)))
