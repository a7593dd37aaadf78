"""The vault: where an executor finds secrets and credentials, by the names that references give them.

First the environment: ``ASYNCBLOCK_SECRET_<NAME>__<KEY>``, and ``ASYNCBLOCK_CREDENTIAL_<ID>`` with a JSON object of
texts; names in capitals, with ``_`` for what is no letter or digit. Then a file: the one that ``ASYNCBLOCK_SECRETS``
names, else ``asyncblock/secrets.json`` in the user's configuration directory, else the original's
``~/app-config/oomol-secrets/secrets.json``. It holds either of::

    {"secrets": {NAME: {"type": TYPE, "values": {KEY: VALUE}}}, "credentials": {ID: {"type": TYPE, "values": {...}}}}
    {NAME: {"secretType": TYPE, "secrets": [{"secretKey": KEY, "value": VALUE}]}}

It is read anew for each job that asks, so a changed secret needs no restart. No value is ever part of an error.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import orjson

from ...errors import Unavailable

__all__ = ["Vault"]

logger = logging.getLogger("asyncblock.executor")

_ORIGINAL = "app-config/oomol-secrets/secrets.json"


class Vault:
    """Secrets and credentials by name, for one job. Reads its file when it is first needed; use it on any thread."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._secrets: dict[str, tuple[str, dict[str, str]]] | None = None
        self._credentials: dict[str, tuple[str, dict[str, str]]] = {}
        self._place = ""

    def secret(self, type_: str, name: str, key: str) -> str:
        """Return a secret. Raises ``Unavailable`` that says where it was looked for."""
        variable = f"ASYNCBLOCK_SECRET_{_capitals(name)}__{_capitals(key)}"
        given = self._environ.get(variable)
        if given is not None:
            return given
        held, values = self._read().get(name, ("", {}))
        if key not in values:
            what = f"secret {name!r}" if not values else f"key {key!r} in secret {name!r}"
            raise Unavailable(f"there is no {what}: neither {variable} in the environment nor {self._place} has it")
        if held != type_:
            logger.warning("secret %r is of type %r; it was asked for as %r", name, held, type_)
        return values[key]

    def credential(self, id_: str) -> dict[str, str]:
        """Return a credential's values. Raises ``Unavailable`` that says where it was looked for."""
        variable = f"ASYNCBLOCK_CREDENTIAL_{_capitals(id_)}"
        given = self._environ.get(variable)
        if given is not None:
            return _texts(_parsed(given.encode(), variable), variable)
        self._read()
        if id_ not in self._credentials:
            words = f"neither {variable} in the environment nor {self._place} has it"
            raise Unavailable(f"there is no credential with id {id_!r}: {words}")
        return dict(self._credentials[id_][1])

    def _read(self) -> dict[str, tuple[str, dict[str, str]]]:
        if self._secrets is None:
            path = self._file()
            self._place = str(path)
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                self._place = f"a file ({path} isn't there; ASYNCBLOCK_SECRETS can name one)"
                content = b"{}"
            except OSError as error:
                raise Unavailable(f"the file of secrets {path} can't be read: {error.strerror}") from error
            self._secrets, self._credentials = _layout(_parsed(content, self._place), self._place)
        return self._secrets

    def _file(self) -> Path:
        given = self._environ.get("ASYNCBLOCK_SECRETS")
        if given:
            return Path(given)
        config = self._environ.get("XDG_CONFIG_HOME", "")
        root = Path(config) if PurePath(config).is_absolute() else Path.home() / ".config"
        ours, original = root / "asyncblock" / "secrets.json", Path.home() / _ORIGINAL
        return original if original.is_file() and not ours.is_file() else ours


def _layout(found: Any, place: str) -> tuple[dict[str, tuple[str, dict[str, str]]], dict[str, Any]]:
    if not isinstance(found, dict):
        raise Unavailable(f"{place} must hold a JSON object")
    if found and all(isinstance(each, dict) and "secretType" in each for each in found.values()):
        return {name: _original(each, f"{place}: {name!r}") for name, each in found.items()}, {}
    sections = []
    for section in ("secrets", "credentials"):
        entries = found.get(section, {})
        if not isinstance(entries, dict):
            raise Unavailable(f"{place}: {section!r} must be an object")
        sections.append({name: _ours(each, f"{place}: {section}.{name}") for name, each in entries.items()})
    return sections[0], sections[1]


def _ours(entry: Any, place: str) -> tuple[str, dict[str, str]]:
    if not isinstance(entry, dict) or "values" not in entry:
        raise Unavailable(f'{place} must be {{"type": ..., "values": {{...}}}}')
    return str(entry.get("type", "")), _texts(entry["values"], place)


def _original(entry: dict[str, Any], place: str) -> tuple[str, dict[str, str]]:
    pairs = entry.get("secrets")
    fine = isinstance(pairs, list) and all(
        isinstance(each, dict) and isinstance(each.get("secretKey"), str) and isinstance(each.get("value"), str)
        for each in pairs
    )
    if not fine or not isinstance(pairs, list):
        raise Unavailable(f'{place}: \'secrets\' must be a list of {{"secretKey": ..., "value": ...}}')
    return str(entry["secretType"]), {each["secretKey"]: each["value"] for each in pairs}


def _texts(values: Any, place: str) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise Unavailable(f"{place} must hold an object of texts")
    return dict(values)


def _parsed(content: bytes, place: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # The error's own words may hold a part of the content.
        raise Unavailable(f"{place} isn't JSON (line {error.lineno}, column {error.colno})") from None


def _capitals(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
