"""References to secrets and credentials in a job's inputs, resolved on the executor and nowhere else.

A secret is a text ``type,name,key`` where the schema (the block's or one that the node overrides) says
``contentMediaType: oomol/secret``, or ``${{OO_SECRET:type,name,key}}`` anywhere. What was resolved is not looked at
again, and an unknown secret ends the job: a block never runs with the reference in the secret's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from ...context import CredentialInput, JobInfo, Secrecy
from ...errors import LocalProtocolError, Unavailable
from ...runtime.offload import wait_in_thread
from .vault import Vault

__all__ = ["holds_reference", "resolve_inputs"]

SECRET = "oomol/secret"
CREDENTIAL = "oomol/credential"
_MARK = "${{OO_SECRET:"
_SECRET_FORM = re.compile(r"\$\{\{OO_SECRET:([^,{}]+),([^,{}]+),([^,{}]+)\}\}")
_PLAIN_FORM = re.compile(r"([^,]+),([^,]+),([^,]+)")
_CREDENTIAL_FORM = re.compile(r"\$\{\{OO_CREDENTIAL:([^,{}]*),([^,{}]*),([^,{}]+)\}\}")


async def resolve_inputs(job: JobInfo, inputs: dict[str, Any], patches: object, searched: Set[str]) -> dict[str, Any]:
    """Return a job's inputs with their references resolved, on a worker thread if there may be any.

    ``patches`` is what the node overrides, by handle; ``searched`` are large inputs that hold no reference.
    Raises ``Unavailable`` naming the handle and the reference.
    """
    by_handle: Mapping[str, Any] = patches if isinstance(patches, dict) else {}
    concerned = []
    for handle, value in inputs.items():
        schema = ((job.inputs_def or {}).get(handle) or {}).get("json_schema")
        patch = by_handle.get(handle)
        if patch or _names_secrets(schema) or (handle not in searched and holds_reference(value)):
            concerned.append((handle, schema, patch))
    if not concerned:
        return inputs
    resolver = _Resolver(Vault(), job.secrecy)

    def work() -> dict[str, Any]:
        return {handle: resolver.resolve(handle, inputs[handle], schema, patch) for handle, schema, patch in concerned}

    return inputs | await wait_in_thread(work)


def holds_reference(value: object) -> bool:
    """Tell whether a reference to a secret stands anywhere in a value, or in the bytes of its JSON."""
    if isinstance(value, bytes):
        return _MARK.encode() in value
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if each.startswith(_MARK):
                return True
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False


def _names_secrets(schema: object) -> bool:
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("contentMediaType") in (SECRET, CREDENTIAL):
                return True
            inner = each.get("properties")
            waiting += inner.values() if isinstance(inner, dict) else ()
            waiting.append(each.get("items"))
    return False


class _Resolver:
    """Resolves one job's inputs and tells its secrecy of every value."""

    def __init__(self, vault: Vault, secrecy: Secrecy) -> None:
        self._vault = vault
        self._secrecy = secrecy

    def resolve(self, handle: str, value: Any, schema: object, patches: object = None) -> Any:
        """Return an input with its references resolved. Raises ``Unavailable`` naming the handle and the reference."""
        try:
            if isinstance(schema, Mapping) and schema.get("contentMediaType") == CREDENTIAL:
                return self._credential(value)
            value = self._walk(value, schema)
            for path in _secret_paths(patches):
                value = self._at(value, path)
            return value
        except (Unavailable, LocalProtocolError) as error:
            raise type(error)(f"input {handle!r}: {error}") from None

    def _walk(self, value: Any, schema: object) -> Any:
        rules: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        if isinstance(value, str):
            return self._text(value, rules.get("contentMediaType") == SECRET)
        if isinstance(value, dict):
            properties = rules.get("properties")
            inner = properties if isinstance(properties, Mapping) else {}
            return {key: self._walk(each, inner.get(key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self._walk(each, rules.get("items")) for each in value]
        return value

    def _text(self, text: str, declared: bool) -> str:
        found = _SECRET_FORM.fullmatch(text) or (_PLAIN_FORM.fullmatch(text) if declared else None)
        if found is None:
            if declared:
                # Nobody's reference: the secret itself came, from an upstream block.
                self._secrecy.learn(text)
            return text
        type_, name, key = (part.strip() for part in found.groups())
        value = self._vault.secret(type_, name, key)
        self._secrecy.learn(value, _MARK + ",".join((type_, name, key)) + "}}")
        return value

    def _at(self, value: Any, path: Sequence[str | int]) -> Any:
        """Resolve the text at a path, if there is one."""
        if not path:
            # What the walk has resolved is a value, not a reference: it isn't looked at again.
            known = isinstance(value, str) and self._secrecy.knows(value)
            return self._text(value, True) if isinstance(value, str) and not known else value
        step, rest = path[0], path[1:]
        if isinstance(value, dict) and step in value:
            return {**value, step: self._at(value[step], rest)}
        if isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            changed = list(value)
            changed[step] = self._at(value[step], rest)
            return changed
        return value

    @staticmethod
    def _credential(value: Any) -> CredentialInput | None:
        if value is None:
            return None
        found = _CREDENTIAL_FORM.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise LocalProtocolError("a credential is written ${{OO_CREDENTIAL:type,name,id}}")
        return CredentialInput(*(part.strip() for part in found.groups()))


def _secret_paths(patches: object) -> list[list[str | int]]:
    """Return where a node says that secrets are."""
    paths: list[list[str | int]] = []
    for patch in patches if isinstance(patches, list) else ():
        schema = patch.get("schema") if isinstance(patch, Mapping) else None
        if isinstance(schema, Mapping) and schema.get("contentMediaType") == SECRET:
            path = patch.get("path")
            steps = path if isinstance(path, list) else [] if path is None else [path]
            paths.append([each for each in steps if isinstance(each, (str, int))])
    return paths
