"""The context of blocks that were written for ``oocana``: a subclass of its class, which sends through ours.

Its calls return when they are sent and wait while there is no room. Where that package warns and drops (a handle that
the block doesn't declare), so does this one; where it forgets (a second finish, a callback that raises), it doesn't.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import oocana

from ..errors import Closed, LocalProtocolError, Rejected, Unavailable
from .blocks_asked import OocanaBlockJob
from .spoken import OocanaCredential, as_json, with_credentials

if TYPE_CHECKING:
    from .needs_of_faces import OurContext

__all__ = ["OocanaContext"]

T = TypeVar("T")
logger = logging.getLogger("asyncblock.context")


class _NoMainframe(oocana.Mainframe):  # type: ignore[misc]  # the package has no types
    """Stands where their context has its connection: there is none here."""

    def __init__(self) -> None:
        """Connect to nothing."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AttributeError(f"this block runs on asyncblock, where no MQTT connection has a {name!r}: use the context")


class _Internal:
    """What ``context.internal`` has."""

    def __init__(self, ours: OurContext) -> None:
        self._ours = ours

    async def update_node_weight(self, node_id: str, weight: float) -> None:
        """Give a node another weight in its flow's progress; one that the flow doesn't have is warned of.

        **Durability**: on return it is in the journal. **Cancellation** leaves it standing if it arrived.
        Raises ``ValueError`` for what is no weight.
        """
        if not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight < 0:
            raise ValueError("Weight must be a non-negative finite number.")
        ours = self._ours
        try:
            await asyncio.wrap_future(ours.elsewhere(lambda: ours.update_node_weight(node_id, float(weight))))
        except Rejected as error:
            ours.send_warning(str(error))


class OocanaContext(oocana.Context):  # type: ignore[misc]  # as above
    """A job as a block of ``oocana`` sees it. Threads and tasks of the block may share it."""

    def __init__(self, ours: OurContext, inputs: Mapping[str, Any]) -> None:
        info = ours.block_info
        super().__init__(
            inputs=with_credentials(inputs),
            blockInfo=oocana.BlockInfo(**{"block_path": None, **info}),
            mainframe=_NoMainframe(),
            store={},
            inputs_def=None,
            outputs_def=None,
            session_dir="",
            tmp_dir="",
            package_name="",
            pkg_dir="",
        )
        self._ours = ours
        self._orders: list[OocanaBlockJob] = []
        self.internal = _Internal(ours)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a job's context can't be pickled: it speaks for the job in the job's own process")

    # ------------------------------------------------------------------ properties

    @property
    def inputs_def(self) -> Mapping[str, Any]:
        """The input handles' definitions by handle, read-only."""
        return self._ours.inputs_def

    @property
    def outputs_def(self) -> Mapping[str, Any]:
        """The output handles' definitions by handle, read-only."""
        return self._ours.outputs_def

    @property
    def logger(self) -> logging.Logger:
        """A logger whose records become lines of this job's log."""
        return self._ours.logger

    @property
    def session_dir(self) -> str:
        """A directory that all jobs of the session on this machine share."""
        return self._ours.session_dir

    @property
    def tmp_dir(self) -> str:
        """A directory for what the flow makes on the way."""
        return self._ours.tmp_dir

    @property
    def tmp_pkg_dir(self) -> str:
        """A directory in ``tmp_dir`` for the block's package."""
        return self._ours.tmp_pkg_dir

    @property
    def pkg_data_dir(self) -> str:
        """A directory that stays, shared by all versions of the block's package."""
        return self._ours.pkg_data_dir

    pkg_dir = pkg_data_dir

    # ------------------------------------------------------------------ data

    def output(
        self,
        key: str,
        value: Any,
        *,
        to_node: Sequence[Any] | None = None,
        to_flow: Sequence[Any] | None = None,
    ) -> None:
        """Send a value to a handle's downstream blocks; one that the block doesn't declare is warned of, and dropped.

        Waits while the job has no room. Raises ``TypeError`` for what JSON can't carry.
        """
        for handle, sendable in self.sendable({key: value}).items():
            with self._late():
                self._ours.output(sendable, handle, to_node=to_node, to_flow=to_flow)

    def outputs(self, outputs: dict[str, Any]) -> None:
        """Send values to several handles in one record; as ``output``."""
        sendable = self.sendable(outputs)
        with self._late():
            self._ours.outputs(sendable)

    def finish(self, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Finish the job with outputs by handle, or with an error; the error wins. The first finish counts."""
        self.orders_are_out()
        if error is not None:
            self._ours.finish(error=str(error))
        elif result is None:
            self._ours.finish()
        elif isinstance(result, dict):
            self._ours.finish(result=self.sendable(result))
        else:
            raise ValueError(f"result should be a dict, but got {type(result)}")

    def error(self, error: str) -> None:
        """Tell of an error; it doesn't fail the job."""
        with self._late():
            self._ours.send_error(str(error))

    def sendable(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Leave out what goes to no declared handle, with a warning, and say the rest as that package's JSON does."""
        found: dict[str, Any] = {}
        declared = self._ours.outputs_def
        for key, value in values.items():
            if key not in declared:
                self.send_warning(f"Output handle key: [{key}] is not defined in Block outputs schema.")
            elif isinstance(value, OocanaCredential):
                found[key] = value.reference
            else:
                found[key] = value if _is_kept(declared[key]) else as_json(value)
        return found

    # ------------------------------------------------------------------ telemetry

    def preview(self, payload: Any, id: str | None = None) -> None:
        """Show a value to people; converted here, a Figure drawn in the worker process."""
        with self._late():
            self._ours.preview(payload, id)

    def report_progress(self, progress: float) -> None:
        """Say how far the job is, from 0 to 100; what is no number is warned of."""
        with self._late():
            try:
                self._ours.report_progress(progress)
            except LocalProtocolError as error:
                self._ours.send_warning(str(error))

    def report_log(self, line: str, stdio: str = "stdout") -> None:
        """Send a log line."""
        with self._late():
            self._ours.report_log(str(line), "stderr" if stdio == "stderr" else "stdout")

    def log_json(self, payload: Any) -> None:
        """Send a value as a log entry."""
        with self._late():
            self._ours.log_json(as_json(payload))

    def send_message(self, payload: Any) -> None:
        """Send a message to whoever watches."""
        with self._late():
            self._ours.send_message(as_json(payload))

    def send_warning(self, warning: str) -> None:
        """Send a warning."""
        with self._late():
            self._ours.send_warning(str(warning))

    @contextlib.contextmanager
    def _late(self) -> Iterator[None]:
        """Drop what is sent after the finish: in that package nobody hears it, and nothing is raised."""
        try:
            yield
        except Closed as error:
            if not self._ours.is_finished:
                raise
            logger.warning("node %s: %s", self.node_id, error)

    # ------------------------------------------------------------------ what it asks for

    def run_block(
        self,
        block: str,
        *,
        inputs: dict[str, Any],
        additional_inputs_def: list[Any] | None = None,
        additional_outputs_def: list[Any] | None = None,
        strict: bool = False,
    ) -> OocanaBlockJob:
        """Run another block; returns at once. Callbacks are called on the event loop that runs, or on a thread.

        The job's ``finish()`` raises ``BlockExecuteException`` when the block fails, or can't be run.
        """
        ours = self._ours
        job = OocanaBlockJob(block)
        values = {
            handle: value.reference if isinstance(value, OocanaCredential) else value
            for handle, value in inputs.items()
        }
        job.begin(
            ours,
            lambda: ours.run_block(
                block,
                inputs=values,
                strict=strict,
                additional_inputs_def=additional_inputs_def,
                additional_outputs_def=additional_outputs_def,
            ),
        )
        self._orders.append(job)
        return job

    def orders_are_out(self) -> None:
        """Wait until every block that was asked for was asked of the mainframe: it runs on when this one returns."""
        orders, self._orders = self._orders, []
        for each in orders:
            each.wait_until_ordered()

    async def query_block(self, block: str) -> dict[str, Any]:
        """Return what a block is; its handles' definitions by handle.

        **Durability**: nothing is sent. **Cancellation** is safe. Raises ``ValueError`` for one that isn't there.
        """
        found = await self._asked(lambda: self._ours.query_block(block))
        for key in ("inputs_def", "outputs_def"):
            if isinstance(defs := found.get(key), list):
                found[key] = {each["handle"]: each for each in defs}
        return found

    async def query_downstream(self, handles: list[str] | None = None) -> dict[str, Any]:
        """Return where this job's outputs go, by handle.

        **Durability**: nothing is sent. **Cancellation** is safe. Raises ``ValueError`` when nobody can tell.
        """
        return await self._asked(lambda: self._ours.query_downstream(handles))

    async def query_auth(self, credential: oocana.CredentialInput) -> dict[str, Any]:
        """Return the values of a credential that came as an input.

        **Durability**: nothing is sent. **Cancellation** is safe. Raises ``ValueError`` without such a credential.
        """
        given = credential.given if isinstance(credential, OocanaCredential) else None
        if given is None:
            raise ValueError("a credential comes as an input of the block; this one doesn't")
        return await self._asked(lambda: self._ours.query_auth(given))

    async def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self._ours.elsewhere(ask))
        except (Rejected, Unavailable, LocalProtocolError) as error:
            raise ValueError(str(error)) from error


def _is_kept(definition: Mapping[str, Any]) -> bool:
    """Tell whether a handle's values don't travel as JSON: they stay in the process, or are bytes."""
    schema = definition.get("json_schema")
    return isinstance(schema, Mapping) and schema.get("contentMediaType") in ("oomol/var", "oomol/bin")
