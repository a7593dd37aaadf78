"""Our context is what a context of ``oocana`` needs: the type checker holds it, and here the names."""

from __future__ import annotations

import inspect

from asyncblock.context import BlockJob, SyncBlockJob, SyncContext
from asyncblock.oocana_surface.needs_of_faces import AskedBlock, FollowedBlock, OurContext


def needs(job: OurContext, asked: AskedBlock, followed: FollowedBlock) -> None:
    """Take what is needed."""


def given(job: SyncContext, asked: SyncBlockJob, followed: BlockJob) -> None:
    needs(job, asked, followed)


def test_a_def_context_has_every_name_that_is_needed() -> None:
    for needed, ours in ((OurContext, SyncContext), (FollowedBlock, BlockJob)):
        names = {name for name in vars(needed) if not name.startswith("_")}
        assert names <= {name for name, _ in inspect.getmembers(ours)}
