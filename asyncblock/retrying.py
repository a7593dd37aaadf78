"""Going on after a failure: a new session in which what had finished isn't run again, where nothing of it has changed.

What the jobs of the old session have put out is read from its journal and laid ready as results of a cache of its own:
by the code that their blocks can come to run, their inputs and the files that these name, their handles, and what they
import. So a job of the new session has such a result where all that is the same, wherever in the flow it stands.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import orjson

from .blockcode.importable import importable
from .context import JobDirectories
from .errors import AsyncBlockError, InvalidFlow, Problem
from .executor.caching import (
    FILES,
    KeptValues,
    Key,
    Named,
    NoDigest,
    Results,
    changed_since,
    digest_of,
    lay_beside,
    results_in,
    retried_dir,
    texts_of,
    versions,
)
from .flow.cached import refreshed
from .flow.plan import NodePlan, Plan
from .flow.report import did_you_mean
from .link import Link
from .link.questions import Rows
from .metadata import carried
from .runtime.offload import run_in_thread, wait_in_thread
from .store import StoreKey
from .values.pieces import loads_blocks
from .wire.bodies import BodyRef

__all__ = ["OverLink", "PastJournal", "Retry", "prepare"]

_MEMORY: Final = 256 << 20
"""Bytes of records that are looked at together; jobs beyond run again."""

_OLD: Final = 7 * 86400.0
"""Seconds after which results that were laid ready are removed."""

_MAX_NAME: Final = 1024
"""Characters of a text that may name a file."""

_VALUES: Final = {"BlockOutput": "output", "BlockOutputs": "outputs", "BlockFinished": "result"}
_SECRETS: Final = ("oomol/secret", "oomol/credential")


Shape = Callable[[Plan], Plan]
Load = Callable[[str | None, Shape], Awaitable[Plan]]

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Starts(Protocol[S_co]):
    """Starts the new session: ``client.Mainframe.start``, of which this file knows no more."""

    def __call__(
        self, plan: Plan, inputs: Mapping[str, Any], /, *, title: str, metadata: Mapping[str, Any]
    ) -> Awaitable[S_co]:
        """Start a session."""
        ...


@dataclass(slots=True)
class Retry(Generic[S]):
    """What a retry will do. ``await start()`` begins it."""

    session_id: str
    """The session that is gone on from."""
    title: str
    kept: list[str]
    """Nodes that don't run again."""
    again: dict[str, str]
    """Nodes that run again, and why."""
    _start: Starts[S]
    _plan: Plan
    _inputs: dict[str, Any]
    _metadata: dict[str, Any]

    @property
    def plan(self) -> Plan:
        """The plan of the new session."""
        return self._plan

    async def start(self) -> S:
        """Start the new session.

        **Durability** and **Cancellation** as ``Mainframe.start``. Raises as that.
        """
        return await self._start(self._plan, self._inputs, title=self.title, metadata=self._metadata)


@dataclass(slots=True)
class _Job:
    """A job of the old session."""

    node_id: str
    flow: str | None
    spec: Any
    stacks: list[Any]
    inputs: dict[str, Any]
    asked: bool = False
    """It has asked for blocks."""
    attempts: dict[int, list[tuple[dict[str, Any], str]]] = field(default_factory=dict)
    """Records with the link that sent them, by attempt."""
    began: int = 0
    ended: int | None = None
    """When it finished without an error, in ms since the epoch."""
    last: int = 0
    """The attempt that finished."""

    @property
    def root(self) -> str:
        """The node of the root flow that it belongs to."""
        return str(self.stacks[0]["node_id"]) if self.stacks else self.node_id


class PastJournal(Protocol):
    """Where the old session is read."""

    async def read(self, session_id: str, offset: int) -> Rows:
        """Return some rows from an offset. **Cancellation** is safe."""
        ...

    async def content(self, body: BodyRef) -> bytes:
        """Return a body. **Cancellation** is safe. Raises ``AsyncBlockError`` when it was pruned."""
        ...


class OverLink:
    """The journal of a mainframe."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(self, session_id: str, offset: int) -> Rows:
        """Return some rows from an offset. **Cancellation** is safe. Raises as ``Link.read``."""
        return await self._link.read(session_id, offset)

    async def content(self, body: BodyRef) -> bytes:
        """Fetch a body. **Cancellation** is safe. Raises ``Rejected`` when it was pruned."""
        return b"".join(await self._link.io.run(self._link.downloads.fetch(body)))


class _Past:
    """The old session, read from its journal."""

    def __init__(self, journal: PastJournal, session_id: str) -> None:
        self._journal = journal
        self.session_id = session_id
        self.started: dict[str, Any] = {}
        self.jobs: dict[str, _Job] = {}
        self.ended = False
        self._size = 0
        self._places: dict[tuple[int, int, int], tuple[dict[str, Any], str]] = {}

    async def read(self) -> None:
        """Read the journal. Raises as ``PastJournal.read``."""
        offset = 0
        while not self.ended:
            page = await self._journal.read(self.session_id, offset)
            await run_in_thread(self._take, page.rows)
            if page.end or page.next == offset:
                return
            offset = page.next

    def _take(self, rows: Iterable[tuple[int, list[bytes]]]) -> None:
        for offset, lines in rows:
            for number, line in enumerate(lines):
                obj = orjson.loads(line)
                if "records" in obj:
                    self._records(obj, (offset, number), len(line))
                else:
                    self._line(obj)

    def _line(self, obj: dict[str, Any]) -> None:
        match obj["type"]:
            case "SessionStarted":
                self.started = obj
            case "SessionFinished":
                self.ended = True
            case "JobCreated" if obj["kind"] != "condition" and obj.get("recomputes") is None:
                self.jobs[obj["job_id"]] = _Job(
                    obj["node_id"], obj.get("flow"), obj.get("spec"), obj["stacks"], obj["inputs"]
                )
            case "BlockRequested" if (caller := self.jobs.get(obj["caller"])) is not None:
                caller.asked = True

    def _records(self, obj: dict[str, Any], place: tuple[int, int], size: int) -> None:
        job = self.jobs.get(obj["job_id"])
        if job is None or obj.get("late"):
            return
        refused = {index for index, _ in obj.get("refused", ())}
        self._size += size
        for index, record in enumerate(obj["records"]):
            if index in refused:
                continue
            name = record["type"]
            if name == "JobStarted":
                job.began = record["t"]
            elif name == "BlockFinished" and "error" not in record and not record.get("cancelled"):
                job.ended, job.last = record["t"], obj["attempt"]
            if (name in _VALUES or name == "BlockPreview") and self._size <= _MEMORY:
                job.attempts.setdefault(obj["attempt"], []).append((record, obj["link"]))
                self._places[*place, index] = (record, obj["link"])

    @property
    def whole(self) -> bool:
        """Tell whether everything fitted into memory."""
        return self._size <= _MEMORY

    def value(self, plan: Plan, ref: Any) -> tuple[Any, BodyRef | None]:
        """Return what an input of a job was: a value, or the body that holds it. Raises ``NoDigest``."""
        match ref[0]:
            case "given":
                return ref[1], None
            case "input":
                return self.started["inputs"].get(ref[1]), None
            case "static":
                return plan.static_value(ref), None
        found = self._places.get((ref[1], ref[2], ref[3]))
        if found is None:
            raise NoDigest("an input of it isn't in the journal")
        return value_of(*found, ref[4])

    async def content(self, body: BodyRef) -> bytes:
        """Fetch a body. Raises as ``PastJournal.content``."""
        return await self._journal.content(body)


def value_of(record: dict[str, Any], link: str, handle: str) -> tuple[Any, BodyRef | None]:
    """Return what a record holds for a handle: a value, or the body that does."""
    ref = record.get("body") or record.get("bodies", {}).get(handle)
    if ref is not None:
        return None, BodyRef.from_json({"link": link, **ref})
    values = record if record["type"] == "BlockOutput" else record.get(_VALUES.get(record["type"], "values"), {})
    return (values["output"] if record["type"] == "BlockOutput" else values.get(handle)), None


def _stored(record: dict[str, Any], link: str) -> Iterator[StoreKey]:
    """Yield what a record has in the place of var values."""
    name = record["type"]
    if name in _VALUES:
        for handle in [record["handle"]] if name == "BlockOutput" else record.get(_VALUES[name], ()):
            value, body = value_of(record, link, handle)
            if body is None and (stored := StoreKey.match(value)) is not None:
                yield stored


async def prepare(
    journal: PastJournal,
    session_id: str,
    load: Load,
    start: Starts[S],
    *,
    from_node: str | None,
    inputs: Mapping[str, Any],
) -> Retry[S]:
    """Work out what of a session that has ended stays, and lay that ready. ``load`` makes the plan of a path.

    **Cancellation** is safe. Raises ``LocalProtocolError`` for a session that was built in Python and is given no flow;
    ``InvalidFlow``.
    """
    past = _Past(journal, session_id)
    await past.read()
    old = Plan.from_json(past.started["plan"])
    before: dict[str, Any] = past.started["inputs"]
    own: list[tuple[Mapping[str, Any], ...]] = []

    def shape(plan: Plan) -> Plan:
        """Let the inputs of before stand for those that aren't given, so that none is missed."""
        own.append(plan.inputs_def)
        more = {name: {"value": before[name]} for name in _carried(before, old, plan.inputs_def) if name not in inputs}
        definitions = tuple({**each, **more.get(each["handle"], {})} for each in plan.inputs_def)
        return replace(plan, inputs_def=definitions)

    plan = await load(past.started.get("path"), shape)
    plan = replace(plan, inputs_def=own[-1])
    given = {**{name: before[name] for name in _carried(before, old, plan.inputs_def)}, **inputs}
    barred = _downstream(plan, from_node)
    directory = retried_dir(JobDirectories().results_dir(), session_id)
    await wait_in_thread(_clear, directory)
    laying = _Laying(past, old, plan, Results(directory), barred)
    await laying.lay()
    told = _Told(plan, past, laying)
    # A title is the flow's, unless somebody gave another one.
    title = str(past.started.get("title", ""))
    shaped = _with_results(plan, session_id, barred)
    metadata = past.started.get("metadata", {})
    return Retry(session_id, title, told.kept, told.again, start, shaped, given, metadata)


def _carried(before: Mapping[str, Any], old: Plan, definitions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return which inputs of before a flow has again: but for defaults, which are what the flow says now."""
    defaults = {each["handle"]: each.get("value") for each in old.inputs_def if "value" in each or each.get("nullable")}
    found = []
    for each in definitions:
        name = each["handle"]
        optional = "value" in each or each.get("nullable")
        if name in before and not (optional and name in defaults and defaults[name] == before[name]):
            found.append(name)
    return found


def _clear(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    for each in directory.parent.iterdir():
        if time.time() - each.stat().st_mtime > _OLD:
            shutil.rmtree(each, ignore_errors=True)


def _downstream(plan: Plan, node_id: str | None) -> set[str]:
    """Return a node and all that it feeds, transitively. Raises ``InvalidFlow`` where it isn't there."""
    if node_id is None:
        return set()
    known = {node.node_id for node in plan.nodes}
    if node_id not in known:
        raise InvalidFlow([Problem(f"the flow has no node {node_id!r}{did_you_mean(known)}", plan.path)])
    found, waiting = {node_id}, [node_id]
    while waiting:
        one = waiting.pop()
        for (source, _), targets in plan.targets.items():
            for target in targets if source == one else ():
                if target.node_id is not None and target.node_id not in found:
                    found.add(target.node_id)
                    waiting.append(target.node_id)
    return found


def _with_results(plan: Plan, session_id: str, barred: set[str]) -> Plan:
    """Let each block look for what was laid ready; those that are to run again don't."""

    def look(node: NodePlan) -> NodePlan:
        slots = {name: look(each) for name, each in node.slots.items()}
        if node.kind != "task" or node.block.get("language") != "python":
            return replace(node, slots=slots) if slots else node
        own = node.block.get("cache")
        kept: Mapping[str, Any] = own if isinstance(own, Mapping) else {"ttl": None, "version": "", "keep": False}
        return replace(node, block={**node.block, "cache": {**kept, "retry_of": session_id}})

    nodes = tuple(node if node.node_id in barred else look(node) for node in plan.nodes)
    flows = {key: replace(flow, nodes=tuple(map(look, flow.nodes))) for key, flow in plan.flows.items()}
    shaped = replace(plan, nodes=nodes, flows=flows)
    cached = [name for name in barred if isinstance(plan.node(name).block.get("cache"), Mapping)]
    return refreshed(shaped, cached) if cached else shaped


_Frame = tuple[dict[str, Any], list[bytes]]


class _Laying:
    """Lays finished results ready, as far as nothing of what they depend on has changed."""

    def __init__(self, past: _Past, old: Plan, plan: Plan, results: Results, barred: set[str]) -> None:
        self._past = past
        self._old = old
        self._plan = plan
        self._results = results
        self._barred = barred
        self.whys: dict[str, str] = {}
        """Why jobs run again."""
        self._codes: dict[str, tuple[str, frozenset[str]]] = {}
        self._vars = KeptValues()

    async def lay(self) -> None:
        """Lay ready what can be."""
        for job_id, job in self._past.jobs.items():
            if job.root in self._barred:
                self.whys[job_id] = "it is to run again"
                continue
            try:
                await self._lay(job)
            except (NoDigest, AsyncBlockError, OSError) as error:
                self.whys[job_id] = str(error)

    async def _lay(self, job: _Job) -> None:
        if job.ended is None:
            raise NoDigest("it hadn't finished")
        if not self._past.whole:
            raise NoDigest(f"the session put out more than {_MEMORY >> 20} MiB")
        block = self._block(job)
        named = Named(self._bases(block))
        digests = {}
        for handle, ref in job.inputs.items():
            digests[handle] = await self._digest(handle, ref, Named(self._bases(block)), job)
        code, outside = await wait_in_thread(self._code, block)
        moment = float(self._past.started["t"]) / 1000
        if (name := await wait_in_thread(changed_since, outside, moment)) is not None:
            raise NoDigest(f"{name}, which it imports, was installed or changed since")
        own = block.get("cache")
        version = str(own.get("version", "")) if isinstance(own, Mapping) else ""
        key = Key.of(block, job.stacks, code, await wait_in_thread(versions, outside), digests, version)
        records = job.attempts.get(job.last, [])
        if keys := [stored for record, link in records for stored in _stored(record, link)]:
            await wait_in_thread(self._lay_kept, job, key, keys)
            return
        frames = [await self._frame(record, link, named, job.ended) for record, link in records]
        await wait_in_thread(self._keep, key.name, frames, named, job.ended)

    def _lay_kept(self, job: _Job, key: Key, keys: list[StoreKey]) -> None:
        """Lay the result ready that the cache has of a job with var values, which no journal has."""
        how = self._old.resolve(job.flow, job.node_id, job.spec).block.get("cache")
        if isinstance(how, Mapping):
            known = Key({**key.parts, "version": str(how.get("version", ""))}, key.place)
            directory = JobDirectories().results_dir()
            places = []
            if (before := how.get("retry_of")) is not None:
                places.append((retried_dir(directory, before), known))
            if how.get("keep", True):
                places.append((directory, known.beside(carried(self._past.started.get("metadata", {})))))
            for place, name in places:
                if not place.is_dir():
                    continue
                found = self._vars.take(results_in(place), name.name, self._past.session_id, job.began, keys)
                if found is not None:
                    lay_beside(found, self._results, key.name)
                    return
        raise NoDigest(
            f"its output {keys[0].handle!r} was in the memory of a process, and only the cache keeps what is there "
            "(cache: true, or --use-cache)"
        )

    def _block(self, job: _Job) -> Mapping[str, Any]:
        """Return the block that the new session would run for a job. Raises ``NoDigest`` where it is another one."""
        before = self._old.resolve(job.flow, job.node_id, job.spec).block
        try:
            block = self._plan.resolve(job.flow, job.node_id, job.spec).block
        except KeyError:
            raise NoDigest("the flow has no such node any more") from None
        if job.asked:
            raise NoDigest("it has run other blocks")
        if "service" in block or block.get("language") != "python":
            raise NoDigest("what a service or a block in another language depends on can't be told")
        if "<locals>" in str(block.get("function")):
            raise NoDigest("it is a function inside of another one: what else it depends on can't be told")
        if block.get("inputs_def_patch") or any(map(_is_secret, _definitions(block))):
            raise NoDigest("it has a secret")
        code = block.get("code") or block.get("hash")
        same = all(before.get(key) == block.get(key) for key in ("package", "entry", "function"))
        if not same or (before.get("code") or before.get("hash")) != code:
            raise NoDigest("its code has changed")
        return block

    def _bases(self, block: Mapping[str, Any]) -> list[Path]:
        root = self._plan.roots.get(str(block.get("hash")))
        return [] if root is None else [root, root / str(block["entry"]).rpartition("/")[0]]

    def _code(self, block: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
        root = self._plan.roots.get(str(block.get("hash")))
        if root is None:
            return str(block["hash"]), _imports_of(block)
        entry = str(block["entry"])
        key = f"{root}:{entry}"
        if key not in self._codes:
            found = importable(root, entry)
            self._codes[key] = (found.digest, found.outside)
        return self._codes[key]

    async def _digest(self, handle: str, ref: Any, named: Named, job: _Job) -> str:
        value, body = self._past.value(self._old, ref)
        stored = StoreKey.match(value) if body is None else None
        if stored is not None:
            if stored not in self._vars:
                raise NoDigest(f"its input {handle!r} was in the memory of a process")
            value = await wait_in_thread(self._vars.value, stored)
            known = await wait_in_thread(lambda: digest_of(value, named, var=True))
        elif body is None:
            known = await wait_in_thread(digest_of, value, named)
        else:
            known = f"{body.encoding} {body.sha256}"
            if body.encoding == "json":
                content = await self._past.content(body)
                value = await wait_in_thread(loads_blocks, [content])
                await wait_in_thread(named.look, value)
        for path in named.files:
            if _changed_after(path, job.began):
                raise NoDigest(f"{path}, which its input {handle!r} names, has changed since")
        if (gone := await wait_in_thread(_gone_after, value, job.began)) is not None:
            raise NoDigest(f"{gone}, which its input {handle!r} names, may have been there")
        return f"{known}{FILES}{named.digest()}" if named.files else known

    async def _frame(self, record: dict[str, Any], link: str, named: Named, ended: int) -> _Frame:
        """Return a record as a frame of a result. Raises ``NoDigest`` for a value that isn't in the journal."""
        name = record["type"]
        if name == "BlockPreview":
            body = record.get("body")
            ref = None if body is None else BodyRef.from_json({"link": link, **body})
            shown = orjson.dumps(record.get("payload")) if ref is None else await self._past.content(ref)
            return {"preview": record.get("id")}, [shown]
        values = [record["handle"]] if name == "BlockOutput" else record.get(_VALUES[name], ())
        handles = [*values, *record.get("bodies", ())]
        kinds, parts = [], []
        for handle in handles:
            value, body = value_of(record, link, handle)
            if body is not None:
                kinds.append([handle, body.encoding])
                parts.append(await self._past.content(body))
                if body.encoding == "json":
                    await self._look(await wait_in_thread(loads_blocks, parts[-1:]), handle, named, ended)
            else:
                kinds.append([handle, "json"])
                parts.append(orjson.dumps(value))
                await self._look(value, handle, named, ended)
        head: dict[str, Any] = {key: record[key] for key in ("to_node", "to_flow") if key in record}
        return {"record": name, "values": kinds, **head}, parts

    async def _look(self, value: Any, handle: str, named: Named, ended: int) -> None:
        """Take in the files that an output names. Raises ``NoDigest`` where one may have gone since."""
        await wait_in_thread(named.look, value)
        if (gone := await wait_in_thread(_gone_after, value, ended)) is not None:
            raise NoDigest(f"{gone}, which its output {handle!r} names, isn't there, and may have been")

    def _keep(self, name: str, frames: list[_Frame], named: Named, ended: int) -> None:
        for path in named.files:
            if _changed_after(path, ended):
                raise NoDigest(f"{path}, which its result names, has changed since")
        draft = self._results.draft()
        try:
            for head, parts in frames:
                draft.add(head, parts)
            draft.add({"named": named.files, "at": ended}, [])
            draft.end()
            os.replace(draft.path, self._results.directory / name)
        finally:
            draft.drop()


def _definitions(block: Mapping[str, Any]) -> list[Any]:
    return [each for key in ("inputs_def", "outputs_def") for each in block.get(key) or ()]


def _is_secret(definition: Mapping[str, Any]) -> bool:
    schema = definition.get("json_schema")
    return isinstance(schema, Mapping) and schema.get("contentMediaType") in _SECRETS


def _imports_of(block: Mapping[str, Any]) -> frozenset[str]:
    import sys

    from .blockcode.identity import module_imports

    file = getattr(sys.modules.get(str(block["entry"])), "__file__", None)
    if file is None:
        raise NoDigest("its code stands in no file")
    return module_imports(str(block["entry"]), Path(file))


def _changed_after(path: str, moment: int) -> bool:
    """Tell whether a file was written after a moment, in ms since the epoch; one that isn't there any more was.

    In a directory everything below counts.
    """
    try:
        if os.stat(path).st_ctime * 1000 > moment:
            return True
        inner = (os.path.join(where, name) for where, below, files in os.walk(path) for name in (*below, *files))
        return any(os.stat(each).st_ctime * 1000 > moment for each in inner)
    except OSError:
        return True


def _gone_after(value: object, moment: int) -> str | None:
    """Return a path in a value where nothing is, and perhaps was: the nearest directory above that is there has been
    written to since."""
    for text in texts_of(value):
        if not text.startswith("/") or len(text) > _MAX_NAME or "\0" in text or os.path.lexists(text):
            continue
        above = os.path.dirname(text.rstrip("/"))
        while above != "/" and not os.path.isdir(above):
            above = os.path.dirname(above)
        try:
            if os.stat(above).st_mtime * 1000 > moment:
                return text
        except OSError:
            continue
    return None


class _Told:
    """What is said of the nodes of the root flow before a retry starts."""

    def __init__(self, plan: Plan, past: _Past, laying: _Laying) -> None:
        self.kept: list[str] = []
        self.again: dict[str, str] = {}
        found: dict[str, list[str | None]] = {}
        for job_id, job in past.jobs.items():
            found.setdefault(job.root, []).append(laying.whys.get(job_id))
        for node in plan.nodes:
            if node.kind == "condition":
                continue
            whys = [why for why in found.get(node.node_id, ["it had not run"]) if why is not None]
            if whys:
                self.again[node.node_id] = whys[0]
        # In the order of the file a source may come later: until nothing changes.
        changed = True
        while changed:
            changed = False
            for node in plan.nodes:
                sources = {source.node_id for each in node.inputs.values() for source in each.sources}
                feeding = sorted(name for name in sources if name in self.again)
                if node.node_id not in self.again and feeding:
                    self.again[node.node_id] = f"where its inputs differ: {', '.join(map(str, feeding))} runs again"
                    changed = True
        self.kept = [node.node_id for node in plan.nodes if node.node_id not in self.again and node.kind != "condition"]
