"""``asyncblock.Flow``: a flow built in Python that runs itself on a mainframe of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import flow as language
from ..errors import FlowFailed
from ..flow.plan import Plan
from ..looks import bundle_of
from ..runtime.offload import wait_in_thread
from ..runtime.scratch import Scratch
from ..shapes import Results
from .embedding import embedded
from .runs import new_run_directory, remember_run

__all__ = ["Flow"]


class Flow(language.Flow):
    __doc__ = language.Flow.__doc__

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle_of(self)

    async def run(
        self,
        inputs: Results | None = None,
        *,
        data_dir: str | Path | None = None,
        workers: int = 0,
        metadata: Mapping[str, Any] | None = None,
        offers: Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Run the flow on an embedded mainframe and return its outputs; ``metadata`` as in ``Mainframe.start``,
        ``offers`` and ``labels`` as in ``embedded``.

        **Durability**: with a ``data_dir`` the session's journal stays there; else it is deleted when the flow has
        succeeded, and kept among the last runs when it has failed.
        **Cancellation** cancels the session: blocks may clean up.
        Raises ``InvalidFlow`` with every problem before anything runs, ``FlowFailed`` with the session's error, the
        author's traceback as its cause, and where the journal is.
        """
        plan = self.plan()
        # As of ``embedded``; but a failure keeps it.
        scratch = Scratch(Path(tempfile.gettempdir()))
        directory = Path(data_dir) if data_dir is not None else await wait_in_thread(scratch.directory)
        try:
            async with embedded(directory, workers=workers, offers=offers, labels=labels) as mainframe:
                session = await mainframe.start(plan, inputs, metadata=metadata)
                outputs = await session.outputs()
        except FlowFailed as failed:
            kept = directory if data_dir is not None else await wait_in_thread(_keep, directory, plan, offers, labels)
            scratch.close(keep=True)
            failed.journal = str(kept)
            failed.add_note(f"the journal of session {failed.session_id} is kept in {kept}")
            raise
        except BaseException:
            # A cancel too: nobody is told of the directory.
            scratch.close()
            raise
        await wait_in_thread(scratch.close)
        return outputs


def _keep(directory: Path, plan: Plan, offers: Mapping[str, Any] | None, labels: Sequence[str]) -> Path:
    """Move a run's data directory to those that are kept for a while; where that can't be, leave it."""
    try:
        kept = new_run_directory()
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(directory, kept)
    except OSError:
        return directory
    remember_run(kept, plan.roots.values(), offers, labels)
    return kept
