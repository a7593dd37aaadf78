"""OpenTelemetry's current context, in a process that has it and in one that hasn't."""

from __future__ import annotations

import subprocess
import sys
from contextvars import copy_context

from opentelemetry import trace as api

from asyncblock.telemetry import current
from asyncblock.telemetry.traces import Trace

HERE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "other=1")


def test_what_is_entered_is_what_a_caller_has_there_and_nowhere_else() -> None:
    current.prepare()
    context = copy_context()
    current.enter(context, HERE)
    assert context.run(current.headers_of_caller) == HERE.headers
    assert current.headers_of_caller() == {}
    assert not api.get_current_span().get_span_context().is_valid


def test_a_tracestate_of_nonsense_is_left_out() -> None:
    current.prepare()
    context = copy_context()
    current.enter(context, Trace(HERE.trace_id, HERE.span_id, False, "no state at all;;"))
    assert context.run(current.headers_of_caller) == Trace(HERE.trace_id, HERE.span_id, False).headers


def test_the_span_that_was_current_when_an_executor_began_isnt_its_jobs() -> None:
    current.prepare()
    context = copy_context()
    current.enter(context, HERE)
    current.leave(context)
    assert context.run(current.headers_of_caller) == {}
    untouched = copy_context()
    current.leave(untouched)
    assert list(untouched.items()) == list(copy_context().items())


def test_nothing_is_imported_by_who_starts_sessions_and_nothing_fails_without_opentelemetry() -> None:
    code = """
import sys
from asyncblock import metadata
from asyncblock.telemetry import current
assert metadata.gathered({"a": 1}) == {"a": 1}
assert not any(name.startswith("opentelemetry") for name in sys.modules)
sys.modules["opentelemetry"] = None
current.prepare()
assert current.prepared()
from contextvars import copy_context
from asyncblock.telemetry.traces import Trace
current.enter(copy_context(), Trace("1" * 32, "2" * 16))
current.leave(copy_context())
assert metadata.gathered(None) == {}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
