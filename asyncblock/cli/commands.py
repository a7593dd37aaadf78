"""What the commands do that run something. Each returns the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..blockcode.packages import package_hash, package_name, package_root
from ..childprocesses.lifesigns import Held
from ..childprocesses.workers import Workers
from ..client import Mainframe, Session, open_links
from ..errors import Unavailable
from ..executor.attribution.capture import shows_of_jobs
from ..executor.attribution.console import share_input
from ..executor.code.catalog import accepted
from ..flow.plan import Plan
from ..flow.shipped import shipped
from ..inprocess.embedding import embedded
from ..inprocess.hosting import hosted_mainframe, hosted_member, listening
from ..inprocess.runs import find_run, new_run_directory, packages_of_run, remember_run
from ..link import PlacedLinks
from ..runtime import collector
from ..runtime.iothread import IOThread, shared
from ..server.journal.datadir import default_data_dir
from ..server.journal.peek import peek_sessions
from ..transport.addresses import shown_url
from .display import open_display
from .edits import Edits, need_watchfiles
from .following import NotCancelled, end_session, follow
from .goingon import tell_begun
from .hangreports import HangReports
from .interrupts import INTERRUPTED, Interrupts
from .offered import Offered
from .partialrun import remember_inputs
from .reloading import following
from .saying import say
from .served_tls import served_tls
from .submitting import Wanted, resolve, warn
from .supervised import supervised
from .targets import COMMAND_TIMEOUT, Target

if TYPE_CHECKING:
    from ..report.enginereport import EngineReport
    from ..server import MainframeServer
    from ..server.cluster.members import ClusterMember
    from ..server.settings import Settings
    from ..telemetry.exporting import Telemetry
    from .clusters import ClusterPlace
    from .paging import PageBeside

__all__ = ["executor", "resume", "run", "run_plan", "serve"]


async def run(wanted: Wanted, workers: int, data_dir: Path | None) -> int:
    """Run a flow on a mainframe of its own."""
    with Interrupts() as interrupts:
        plan = await asyncio.to_thread(resolve, wanted)
        return await run_plan(wanted, plan, workers, data_dir, interrupts)


async def run_plan(wanted: Wanted, plan: Plan, workers: int, data_dir: Path | None, interrupts: Interrupts) -> int:
    """Run what a flow was resolved to. **Cancellation** ends it in order: its blocks may clean up."""
    warn(plan, [wanted.inputs])
    offered = wanted.offered
    offered.check(plan)
    directory = data_dir or new_run_directory()
    packages = tuple(plan.roots.values())
    if wanted.page and not workers:
        raise Unavailable("--page needs executor processes: other processes can't reach a run with --in-process")
    if not workers:
        share_input()
        # Figures become previews, and no windows.
        os.environ.setdefault("MPLBACKEND", "agg")
    async with AsyncExitStack() as stack:
        page: PageBeside | None = None
        telling: EngineReport | None = None
        if wanted.broker is not None:
            from ..report.enginereport import engine_report

            telling = await stack.enter_async_context(engine_report(wanted.broker))
        # With --in-process, prints go to the terminal, where a debugger's prompt is, unless the output is data.
        with shows_of_jobs(not workers and not wanted.json):
            async with embedded(
                directory, workers=workers, capture=wanted.json, offers=offered.offers, labels=offered.labels
            ) as mainframe:
                remember_run(directory, packages, offered.offers, offered.labels)
                session = await mainframe.start(plan, wanted.inputs)
                if wanted.part.use_cache:
                    remember_inputs(plan, wanted.inputs)
                if wanted.page:
                    from .paging import page_beside

                    page = await stack.enter_async_context(page_beside(session.session_id, directory))
                    print(f"page: {page.address}", file=sys.stderr, flush=True)
                try:
                    told = telling.of(session) if telling is not None else nullcontext()
                    async with told:
                        code = await _follow_own(mainframe, session, wanted.json, interrupts, plain=not workers)
                except asyncio.CancelledError:
                    # Its jobs get no grace period, as they would when an executor leaves: their results aren't wanted.
                    mainframe.hurry()
                    await end_session(session, "its code was edited")
                    raise
                if wanted.report is not None:
                    from ..report.recording import Followed
                    from .telling import write_report

                    await write_report(Followed(session), wanted.report, full=False)
        if page is not None and code != INTERRUPTED and not interrupts.asked:
            await page.stay(interrupts)
        return code


async def resume(
    session_id: str,
    workers: int,
    data_dir: Path | None,
    json: bool,
    accept: tuple[str, ...] = (),
    offered: Offered | None = None,
    begun_fd: int | None = None,
) -> int:
    """Let a session of a run that was interrupted go on from its data directory."""
    accepted(accept)
    with Interrupts() as interrupts:
        if data_dir is None:
            directory, session_id = await asyncio.to_thread(find_run, session_id)
        else:
            directory = data_dir
        packages = packages_of_run(directory)
        if not packages:
            raise Unavailable(
                f"{directory} isn't the data directory of a run; sessions of a served mainframe go on by themselves "
                f"when it is served again: asyncblock serve --data-dir {directory}"
            )
        offered = (offered or Offered()).or_of_run(directory)
        await asyncio.to_thread(_tell_of_its_end, directory, session_id)
        with shows_of_jobs(not workers and not json):
            async with embedded(
                directory,
                workers=workers,
                packages=packages,
                capture=json,
                accept=accept,
                offers=offered.offers,
                labels=offered.labels,
            ) as mainframe:
                session = mainframe.session(session_id)
                tell_begun(begun_fd, session_id)
                return await _follow_own(mainframe, session, json, interrupts, plain=not workers)


def _tell_of_its_end(directory: Path, session_id: str) -> None:
    """If a session has ended, say that it is only shown again, and how to retry it."""
    for row in peek_sessions(directory):
        if row.session_id == session_id and row.state != "running":
            words = f"session {session_id} has ended already ({row.state}); this is what it did."
            more = "" if row.state == "succeeded" else f" To run it again from there: asyncblock retry {session_id}"
            print(f"{words}{more}", file=sys.stderr, flush=True)


async def _follow_own(
    mainframe: Mainframe, session: Session, json: bool, interrupts: Interrupts, *, plain: bool
) -> int:
    """Follow a session of this process's own mainframe."""
    async with open_display(json, plain=plain) as display:
        try:
            return await follow(session, display, interrupts, cancel=True)
        except NotCancelled as error:
            display.note(f"{error}; leaving. To go on with it: asyncblock resume {session.session_id}")
            mainframe.hurry()
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of the output has gone, so the rest isn't wanted.
            await session.cancel("its output is no longer read")
            raise


async def executor(
    target: Target,
    packages: tuple[Path, ...],
    grace: float,
    sync_slots: int | None,
    accept: tuple[str, ...] = (),
    reload: bool = False,
    offered: Offered | None = None,
) -> int:
    """Keep an executor process running until told to leave."""
    accepted(accept)
    offered = offered or Offered()
    if reload:
        need_watchfiles("--reload")
    missing = [str(package) for package in packages if not package.is_dir()]
    if missing:
        raise Unavailable(f"there is no package directory {', '.join(missing)}")
    url, token = target.address()
    headers, tls = target.headers(), target.tls()
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())

        # Before the workers start, so that a wrong address or token ends the command at once, with one message.
        def own_links() -> AbstractAsyncContextManager[PlacedLinks]:
            return open_links(url, token, timeout=COMMAND_TIMEOUT, tls=tls, headers=headers)

        async with own_links() as links:
            await _must_run_blocks(Mainframe(*links), url)
        hang_reports = await stack.enter_async_context(HangReports.of(own_links))
        # A directory within a package, of a flow for example, stands for the package.
        own = [*map(package_root, packages)]
        served = [*own, *(example.root for example in shipped())]
        edits = Edits(package_hash, own) if reload else None
        ca_file = str(target.tls_ca) if tls is not None else None
        with interrupts.handled_by(stop.set):
            async with Workers(
                url,
                token,
                1,
                served,
                held=hang_reports.held,
                grace=grace,
                sync_slots=sync_slots,
                ca_file=ca_file,
                accept=accept,
                headers=headers,
                offers=offered.offers,
                labels=offered.labels,
            ) as workers:
                interrupts.restore = workers.kill
                named = "".join(f"{package_name(root)}, " for root in own)
                more = f"; offers {told}" if (told := str(offered)) else ""
                say(f"executor for {shown_url(url)}: {named}the examples{more}; Ctrl-C to leave")
                async with following(edits, workers), supervised(lambda: asyncio.sleep(0)):
                    await stop.wait()
                words = f"leaving: running jobs have {grace:g} s to finish; a second signal ends them"
                say(words)
    for report in workers.reports:
        say(report, sys.stdout)
    return 0


async def _must_run_blocks(mainframe: Mainframe, url: str) -> None:
    roles = (await mainframe.info())["roles"]
    if "executor" not in roles:
        raise Unavailable(f"the token for {shown_url(url)} may not run blocks; its roles are {', '.join(roles)}")


async def serve(
    *,
    host: str,
    port: int,
    data_dir: Path | None,
    workers: int,
    synchronous: Literal["normal", "full"],
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    origins: frozenset[str],
    insecure: bool,
    no_executor_timeout: float | None,
    version_timeout: float | None,
    otel: bool = False,
    cluster: ClusterPlace | None = None,
) -> int:
    """Serve a mainframe, or a member of a set, until told to stop."""
    from ..server.settings import Settings

    directory = data_dir or default_data_dir() / "mainframe"
    settings = Settings(synchronous=synchronous, token_file=token_file, origins=origins, insecure=insecure)
    settings = _with_timeouts(settings, no_executor_timeout, version_timeout)
    tls = served_tls(tls_cert, tls_key)
    stop = asyncio.Event()
    with Interrupts() as interrupts:
        async with AsyncExitStack() as stack:
            io = await stack.enter_async_context(shared().lease())
            if otel:
                telemetry = _telemetry()
                stack.push_async_callback(asyncio.to_thread, telemetry.close)
                settings = replace(settings, watch=telemetry)
            if cluster is None:
                member, kept = None, f"data in {directory}"
            else:
                member = cluster.member(directory, settings, host, port, secure=tls is not None)
                kept = f"of set {cluster.set_name}"
            # If the mainframe has failed, leaving the stack raises its error.
            server = await stack.enter_async_context(_hosted(io, directory, settings, member, stop))
            url = await stack.enter_async_context(listening(io, server, host, port, tls=tls))
            server.place.write_address({"url": _local(url), "pid": os.getpid()})
            if workers:
                # Workers get a port of their own: a certificate, if there is one, needn't be valid for loopback.
                own = url if tls is None else await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
                await stack.enter_async_context(_workers_beside(io, server, own, workers))
            _spare_collections()
            with interrupts.handled_by(stop.set):
                say(f"mainframe at {url}, {kept}; Ctrl-C to stop")
                # The process counts as alive as long as the mainframe's loop answers.
                async with supervised(lambda: io.run(asyncio.sleep(0))):
                    await stop.wait()
    return 0


def _with_timeouts(settings: Settings, no_executor_timeout: float | None, version_timeout: float | None) -> Settings:
    """Return settings with the timeouts that were given; the others keep their defaults."""
    if no_executor_timeout is not None:
        settings = replace(settings, no_executor_timeout=no_executor_timeout)
    if version_timeout is not None:
        settings = replace(settings, version_timeout=version_timeout)
    return settings


def _spare_collections() -> None:
    """Keep garbage collections short: a full one would walk all modules, and jobs wait meanwhile (dispatch)."""
    gc.freeze()
    collector.keep_short()


def _hosted(
    io: IOThread, directory: Path, settings: Settings, member: ClusterMember | None, stop: asyncio.Event
) -> AbstractAsyncContextManager[MainframeServer | ClusterMember]:
    """Run a mainframe, or the member of a set that is given, on the I/O thread; ``stop`` is set when it has failed."""
    if member is not None:
        return hosted_member(io, member, ended=lambda _: stop.set())
    return hosted_mainframe(io, directory, settings, ended=lambda _: stop.set())


def _workers_beside(io: IOThread, server: MainframeServer | ClusterMember, url: str, count: int) -> Workers:
    """Return executor processes for the shipped examples; the mainframe is told when one ends or its lock is held."""

    def gone(link_id: str, reason: str) -> None:
        io.post(server.executor_gone, link_id, reason)

    def held(link_id: str, _: str, what: Held) -> None:
        io.post(lambda: server.executor_held(link_id, **what.to_json()))

    served = [example.root for example in shipped()]
    return Workers(_local(url), server.token, count, served, gone=gone, held=held)


def _telemetry() -> Telemetry:
    try:
        from ..telemetry.exporting import over_otlp
    except ImportError as error:
        words = f"--otel needs OpenTelemetry ({error}): pip install 'asyncblock[otel]'"
        raise Unavailable(words) from error
    return over_otlp()


def _local(url: str) -> str:
    """Return the address by which this machine reaches a server that listens on all of its addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
