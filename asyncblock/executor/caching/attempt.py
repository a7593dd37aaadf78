"""One job's part in the cache: whether its result is there, and if not, that what it puts out is kept."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ...blockcode.identity import module_imports
from ...blockcode.importable import importable
from ...blockcode.packages import package_hash
from ...context import JobInfo, now_ms
from ...errors import AsyncBlockError, Unavailable
from ...link import JobSender
from ...metadata import carried
from ...store import StoreKey
from ...wire.messages import Dispatch
from ...wire.records import encode
from ..code.jobtemplates import JobTemplate
from ..environment import Environment
from .digests import Named, NoDigest, changed, digest_of
from .installed import versions
from .keys import FILES, Key, why_another
from .recorder import Recorder, RecordingContext, RecordingSyncContext
from .replay import CachedResult
from .results import Results, UnfinishedResult

__all__ = ["Caching", "results_in", "retried_dir"]

_SECRETS: Final = ("oomol/secret", "oomol/credential")


class Caching:
    """What the cache does for one attempt. ``look`` first; then ``kept`` or a recording context."""

    def __init__(self, environment: Environment, info: JobInfo, template: JobTemplate, message: Dispatch) -> None:
        self._environment = environment
        self._info = info
        self._template = template
        self._how: Mapping[str, Any] = template.block["cache"]
        self._bodies = {
            handle: f"{ref.get('encoding')} {ref.get('sha256')}"
            for handle, ref in message.bodies.items()
            if isinstance(ref, dict)
        }
        self._vars = {handle for handle, value in message.inputs.items() if StoreKey.match(value) is not None}
        self._key: Key | None = None
        self._named: list[Named] = []
        self._results: Results | None = None
        self._began = time.time()
        self.kept: CachedResult | None = None
        """The result, if it is there."""
        self._recorder: Recorder | None = None
        self.words = b""
        """The record that says what was found."""

    # ------------------------------------------------------------------ looking

    def look(self, inputs: Mapping[str, Any]) -> None:
        """Look for the result of these inputs. Reads files: call it off the loop. Never raises."""
        try:
            key = self._make_key(inputs)
            self._key = key.beside(carried(self._info.metadata))
            directory = self._environment.directories.results_dir()
            if (before := self._how.get("retry_of")) is not None:
                self._find(results_in(retried_dir(directory, before)), key, "nothing that was finished fits its inputs")
            if self.kept is None and self._how.get("keep", True):
                self._results = results_in(directory)
                self._find(self._results, self._key)
        except (NoDigest, AsyncBlockError, OSError) as error:
            self._key = None
            self._say("miss", f"not cached: {error}")

    def _find(self, results: Results, key: Key, missing: str | None = None) -> None:
        if self._how.get("refresh"):
            self._say("miss", "it is to run anew (--refresh)")
            return
        file = results.open(key.name)
        if file is None:
            self._say("miss", missing or why_another(key.parts, results.last(key.place)))
            return
        try:
            kept = CachedResult(file)
        except Exception as error:  # whatever unpickling the author's values raises
            file.close()
            self._say("miss", f"its result can't be read any more ({type(error).__name__}: {error})")
            return
        ttl = self._how.get("ttl")
        age = max(0.0, time.time() - kept.at / 1000)
        if ttl is not None and age >= ttl:
            why: str | None = f"its result is {_long(age)} old, and good for {_long(ttl)}"
        else:
            gone = changed(kept.named)
            why = None if gone is None else f"{gone}, which its result names, isn't what it was"
        if why is not None:
            kept.close()
            self._say("miss", why)
            return
        self.kept = kept
        if missing is None:
            results.note(key.place, key.parts)
        self._say("hit", f"kept {_long(age)} ago", made_at=kept.at)

    def _make_key(self, inputs: Mapping[str, Any]) -> Key:
        template = self._template
        for handle, definition in {**(template.outputs_def or {}), **(template.inputs_def or {})}.items():
            schema = definition.get("json_schema")
            if isinstance(schema, dict) and schema.get("contentMediaType") in _SECRETS:
                raise NoDigest(f"{handle!r} is a secret")
        if self._info.secrecy.active or template.block.get("inputs_def_patch"):
            raise NoDigest("a secret is among its inputs")
        code, outside, bases = self._code()
        digests: dict[str, str] = {}
        for handle, value in inputs.items():
            named = Named(bases)
            known = self._bodies.get(handle)
            try:
                if known is None:
                    known = digest_of(value, named, var=handle in self._vars)
                elif known.startswith("json"):
                    named.look(value)
            except NoDigest as error:
                raise NoDigest(f"input {handle!r}: {error}") from error
            digests[handle] = f"{known}{FILES}{named.digest()}" if named.files else known
            self._named.append(named)
        version = str(self._how.get("version", ""))
        return Key.of(template.block, self._info.stacks, code, versions(outside), digests, version)

    def _code(self) -> tuple[str, frozenset[str], list[Path]]:
        """Return the digest of what the block can come to run, what that imports, and where its files are."""
        block = self._template.block
        if str(block["package"]).startswith("python:"):
            return str(block["hash"]), self._imported(block), []
        root = self._environment.catalog.root(block)
        if package_hash(root) != block["hash"]:
            raise NoDigest(
                "its package was edited since the flow was read, or another version is accepted in its place"
            )
        found = importable(root, str(block["entry"]))
        return found.digest, found.outside, [root, root / str(block["entry"]).rpartition("/")[0]]

    def _imported(self, block: Mapping[str, Any]) -> frozenset[str]:
        """Return the modules that a block in Python code imports from elsewhere."""
        fn = self._environment.catalog.function(dict(block), self._info.session_id)
        if not inspect.isfunction(fn) or "<locals>" in fn.__qualname__:
            raise NoDigest("it is no function of a module's own: what else it depends on can't be told")
        file = inspect.getsourcefile(fn)
        if file is None or not Path(file).is_file():
            raise NoDigest("its code stands in no file")
        return module_imports(fn.__module__, Path(file))

    def _say(self, state: str, why: str, **more: Any) -> None:
        self.words = encode("BlockCache", now_ms(), state=state, why=self._info.secrecy.text(why), **more)

    # ------------------------------------------------------------------ keeping

    def context(
        self, inputs: Mapping[str, Any], sender: JobSender, *, sync: bool
    ) -> RecordingContext | RecordingSyncContext | None:
        """Return a context that takes down what the block puts out; None where nothing can be kept."""
        if self._key is None or self._results is None:
            return None
        block, environment = self._template.block, self._environment
        about = {
            "block": self._key.parts["block"],
            "node_id": self._template.node_id,
            "session_id": self._info.session_id,
        }
        bases = [] if str(block["package"]).startswith("python:") else [environment.catalog.root(block)]
        recorder = self._recorder = Recorder(self._results, about, environment.store, bases, self._keep)
        if sync:
            lock = environment.thread_lock
            return RecordingSyncContext(self._info, inputs, sender, environment.store, lock, recorder, self._told)
        return RecordingContext(self._info, inputs, sender, environment.store, recorder, self._told)

    def close(self) -> None:
        """Let go of files: the job is over."""
        if self.kept is not None:
            self.kept.close()
        if self._recorder is not None:
            self._recorder.drop()

    def _keep(self, draft: UnfinishedResult) -> str | None:
        """Put a result in its place; return why not, if something of what it depends on has changed meanwhile."""
        assert self._key is not None
        assert self._results is not None
        for named in self._named:
            if (path := named.changed()) is not None:
                return f"{path}, which an input names, has changed while it ran"
        try:
            self._code()
        except (NoDigest, AsyncBlockError) as error:
            return str(error)
        self._results.keep(draft, self._key.name)
        self._results.note(self._key.place, self._key.parts)
        return None

    def _told(self, why: str | None) -> bytes | None:
        """Return the record that says whether the result is kept; None where nothing is to be said."""
        understands = self._environment.links.of(self._info.session_id).understands
        if why is None or "BlockCache" not in understands:
            return None
        if not why:
            return encode("BlockCache", now_ms(), state="kept", why="")
        return encode("BlockCache", now_ms(), state="not kept", why=self._info.secrecy.text(why))


@functools.lru_cache(maxsize=8)
def results_in(directory: Path) -> Results:
    """Return the results of a directory. Raises ``Unavailable`` where it can't be trusted."""
    results = Results(directory)
    try:
        results.check()
    except OSError as error:
        raise Unavailable(f"the cache {directory} can't be used: {error.strerror}") from error
    return results


def retried_dir(results: Path, session_id: str) -> Path:
    """Return where the finished results of a session are while it is retried."""
    return results / "retried" / session_id


def _long(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
