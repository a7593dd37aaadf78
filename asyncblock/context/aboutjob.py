"""What a block can read of its job: its inputs, its names, how its handles are defined. Nothing here sends or waits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from ..telemetry.traces import Trace, trace_of_job
from .jobenvironment import JobEnvironment
from .jobinfo import JobInfo

__all__ = ["AboutJob", "KeepAlive"]


class KeepAlive:
    """The value that a block returns to leave its job open."""

    def __repr__(self) -> str:
        return "Context.keepAlive"


class AboutJob(JobEnvironment):
    """The part of both faces that only tells."""

    _KEEP_ALIVE: ClassVar[KeepAlive] = KeepAlive()
    _job: JobInfo
    _inputs: dict[str, Any]
    _finish_said: bool

    @property
    def keepAlive(self) -> KeepAlive:  # the original's spelling
        """The value to return from ``main`` to leave the job open until ``done`` or ``finish`` is called."""
        return self._KEEP_ALIVE

    keep_alive = keepAlive

    @property
    def inputs(self) -> dict[str, Any]:
        """The job's inputs by handle; the same dict at every access, until a job with large ones is over."""
        return self._inputs

    def take_inputs(self) -> list[Any]:
        """Return the inputs' values and let go of them, for the executor: the job is over."""
        inputs, self._inputs = self._inputs, {}
        return list(inputs.values())

    @property
    def session_id(self) -> str:
        """The run of the flow that this job belongs to."""
        return self._job.session_id

    @property
    def job_id(self) -> str:
        """This run of the block; the same in every attempt."""
        return self._job.job_id

    @property
    def is_finished(self) -> bool:
        """Whether the finish is said: nothing can be sent any more."""
        return self._finish_said

    @property
    def attempt(self) -> int:
        """Which attempt of the job this is, from 1."""
        return self._job.attempt

    @property
    def job_info(self) -> dict[str, str]:
        """``session_id`` and ``job_id`` as a dict."""
        return {"session_id": self._job.session_id, "job_id": self._job.job_id}

    @property
    def block_info(self) -> dict[str, Any]:
        """``job_info`` with ``stacks``, and ``block_path`` where there is one."""
        info: dict[str, Any] = {**self.job_info, "stacks": [dict(level) for level in self._job.stacks]}
        if self._job.block_path is not None:
            info["block_path"] = self._job.block_path
        return info

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What whoever started the session said of it, read-only: ``start(..., metadata={...})``. Blocks that this one
        runs have the same."""
        return self._job.metadata

    @property
    def trace(self) -> Trace | None:
        """Where this attempt stands in a trace: its own span where the mainframe records spans, else what whoever
        started the session named as ``traceparent``; None without one. ``ctx.trace.headers`` tell another service.
        Inside a block it is OpenTelemetry's current context, too, where that is installed."""
        job = self._job
        return trace_of_job(job.metadata, job.session_id, job.job_id, job.attempt) if job.metadata else None

    @property
    def node_id(self) -> str | None:
        """The node of the flow that this job runs for; None outside a flow."""
        return self._node()

    @property
    def inputs_def(self) -> Mapping[str, Mapping[str, Any]]:
        """The input handles' definitions by handle, read-only; empty when the block declares none."""
        return MappingProxyType(dict(self._job.inputs_def or {}))

    @property
    def outputs_def(self) -> Mapping[str, Mapping[str, Any]]:
        """The output handles' definitions by handle, read-only; empty when the block declares none."""
        return MappingProxyType(dict(self._job.outputs_def or {}))
