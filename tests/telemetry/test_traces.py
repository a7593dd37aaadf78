"""Ids of spans, and the forms of traceparent and tracestate; pure."""

from __future__ import annotations

import pytest
from opentelemetry.trace import TraceState

from asyncblock.telemetry.traces import (
    Trace,
    attempt_span,
    job_span,
    metadata_of_session,
    parsed,
    session_span,
    session_trace,
    trace_of_job,
    trace_of_session,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", Trace(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-00", Trace(TRACE, SPAN, False)),
        (f"01-{TRACE}-{SPAN}-03-more", Trace(TRACE, SPAN, True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("00-4bf9-00f0-01", None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_only_what_the_standard_allows_is_a_place(text: object, found: Trace | None) -> None:
    assert parsed({"traceparent": text}) == found


def test_a_session_stands_under_its_starter_and_its_jobs_under_it() -> None:
    above = Trace(TRACE, SPAN, True, "other=1")
    metadata = metadata_of_session({"user": "u", **above.headers}, "s1", above, sampled=True)
    assert metadata["user"] == "u"
    own = trace_of_session(metadata, "s1")
    assert own == (Trace(TRACE, session_span("s1"), True, f"asyncblock={SPAN},other=1"), SPAN)
    attempt = trace_of_job(metadata, "s1", "j", 2)
    assert attempt == Trace(TRACE, attempt_span("j", 2), True, f"asyncblock={SPAN},other=1")


def test_a_session_that_a_job_starts_stands_under_the_jobs_attempt() -> None:
    outer = metadata_of_session({}, "s1", None, sampled=True)
    attempt = trace_of_job(outer, "s1", "j", 1)
    assert attempt is not None
    inner = metadata_of_session(attempt.headers, "s2", parsed(attempt.headers), sampled=True)
    own = trace_of_session(inner, "s2")
    assert own is not None
    assert own[1] == attempt_span("j", 1)
    assert own[0].trace_id == session_trace("s1")
    assert own[0].state.count("asyncblock=") == 1


def test_what_another_session_has_isnt_taken_for_ones_own() -> None:
    metadata = metadata_of_session({}, "s1", None, sampled=True)
    assert trace_of_session(metadata, "s2") is None
    assert trace_of_job(metadata, "s2", "j", 1) == parsed(metadata)


@pytest.mark.parametrize("state", ["x" * 600, ",".join(f"v{n}=1" for n in range(60)), ",,, ,", "asyncblock=nonsense"])
def test_a_tracestate_that_is_too_much_loses_its_end_and_never_ours(state: str) -> None:
    above = Trace(TRACE, SPAN, True, state)
    made = metadata_of_session({}, "s", above, sampled=True)
    assert len(made["tracestate"]) <= 512
    assert made["tracestate"].count(",") < 32
    found = trace_of_session(made, "s")
    assert found is not None
    assert found[1] == SPAN


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1,b@c=2", "a=1,b@c=2"),
        ("a=1,no state at all,b=2", "a=1,b=2"),
        ("A=1", ""),
        ("a=1,a=2", "a=1"),
        ("a=\u00e9,b=\t", ""),
        (" a=1 , b=2", "a=1,b=2"),
        (",".join(f"v{n}=1" for n in range(40)), ",".join(f"v{n}=1" for n in range(32))),
    ],
)
def test_members_of_tracestate_that_opentelemetry_would_warn_of_are_left_out(
    state: str, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = parsed({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": state})
    assert found is not None
    assert found.state == kept
    assert TraceState.from_header([found.state]).to_header() == kept
    assert caplog.records == []


def test_no_two_of_a_sessions_spans_have_one_id() -> None:
    ids = [session_span("a"), job_span("a"), *(attempt_span("a", n) for n in range(1, 100)), attempt_span("1 a", 1)]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 16 for each in ids)
