"""What a context says of the environment of its job: directories, the host, what its node keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .jobinfo import JobInfo

__all__ = ["JobEnvironment"]


class JobEnvironment:
    """What both contexts say of where the job runs. Directories are made when they are asked for."""

    _job: JobInfo

    @property
    def session_dir(self) -> str:
        """A directory that all jobs of the session on this machine share; it stays after the session's end."""
        return str(self._job.directories.session_dir(self._job.session_id))

    @property
    def tmp_dir(self) -> str:
        """A directory for what the flow makes on the way.

        It stays after the session's end, to be looked at, until a later session of the same flow has succeeded; where
        the session failed, or its process was killed, for a week.
        """
        return str(self._job.directories.tmp_dir(self._job.session_id, self._flow()))

    @property
    def tmp_pkg_dir(self) -> str:
        """A directory in ``tmp_dir`` for the block's package."""
        job = self._job
        return str(job.directories.package_tmp_dir(job.session_id, self._flow(), job.package or "workspace"))

    @property
    def pkg_data_dir(self) -> str:
        """A directory that stays, shared by all sessions and all versions of the block's package."""
        return str(self._job.directories.package_data_dir(self._job.package or "workspace"))

    pkg_dir = pkg_data_dir

    @property
    def host_info(self) -> dict[str, str]:
        """``gpu_vendor`` and ``gpu_renderer``, as the executor was started with; else ``"unknown"``."""
        return {
            "gpu_vendor": os.environ.get("OOMOL_HOST_GPU_VENDOR", "unknown"),
            "gpu_renderer": os.environ.get("OOMOL_HOST_GPU_RENDERER", "unknown"),
        }

    @property
    def flow_node_store(self) -> dict[str, Any]:
        """A dict that this node's jobs share: within one run of its flow, in one process, until the session ends."""
        level: Mapping[str, Any] = self._job.stacks[-1] if self._job.stacks else {}
        flow_job_id, node_id = str(level.get("flow_job_id")), str(level.get("node_id"))
        return self._job.directories.node_store(self._job.session_id, flow_job_id, node_id)

    def _node(self) -> str | None:
        return self._job.stacks[-1].get("node_id") if self._job.stacks else None

    def _flow(self) -> str | None:
        return self._job.stacks[0].get("flow") if self._job.stacks else None
