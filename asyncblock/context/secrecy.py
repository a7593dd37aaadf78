"""Secrecy: which texts a job must not say, and how it says what contains them.

A secret's value is replaced by stars in what is for people, and by the reference that it came from in values that
travel: whoever gets those resolves the reference again.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import quote

import orjson

__all__ = ["STARS", "CredentialInput", "Secrecy"]

STARS = "***"

_NONE: Final[frozenset[str]] = frozenset()


class CredentialInput(str):
    """What a block gets on a credential handle: the reference, which may travel on, and its parts.

    ``ctx.query_auth`` has the values that belong to it.
    """

    type: str
    name: str
    id: str

    def __new__(cls, type: str, name: str, id: str) -> CredentialInput:
        made = super().__new__(cls, "${{OO_CREDENTIAL:" + ",".join((type, name, id)) + "}}")
        made.type, made.name, made.id = type, name, id
        return made

    def __getnewargs__(self) -> tuple[str, str, str]:  # type: ignore[override]  # three parts, where str has one
        return (self.type, self.name, self.id)


class Secrecy:
    """What one job has been told in confidence. Threads of the job may share it."""

    __slots__ = ("_forms", "_references", "_tokens", "_words")

    def __init__(self) -> None:
        self._references: dict[str, str] = {}
        self._forms = _NONE
        self._words: re.Pattern[str] | None = None
        self._tokens: re.Pattern[bytes] | None = None

    @property
    def active(self) -> bool:
        """Whether there is anything to keep secret. If not, texts needn't be searched."""
        return self._words is not None

    def learn(self, value: str, reference: str | None = None) -> None:
        """Keep a value secret from here on; ``reference`` is what travels in its place."""
        if not value.strip():
            return
        if reference is not None:
            self._references[value] = reference
            tokens = (re.escape(orjson.dumps(each)) for each in self._references)
            # Whole texts of JSON, and no keys.
            self._tokens = re.compile(b"(?:%b)(?!:)" % b"|".join(tokens))
        # Lines are printed one by one, and texts hold values as JSON, as Python or in an address.
        for part in {value, *value.splitlines()}:
            if part.strip():
                self._forms |= {part, json.dumps(part)[1:-1], repr(part)[1:-1], quote(part, safe="")}
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, longest_first)))

    def knows(self, value: str) -> bool:
        """Tell whether a text is a secret that came from a reference."""
        return value in self._references

    def text(self, text: str) -> str:
        """Return a text for people."""
        return text if self._words is None else self._words.sub(STARS, text)

    def shown(self, data: bytes) -> bytes:
        """Return JSON for people."""
        if self._words is None or self._words.search(data.decode()) is None:
            return data
        return orjson.dumps(self._starred(orjson.loads(data)))

    def sent(self, data: bytes) -> bytes:
        """Return JSON that travels."""
        if self._tokens is None:
            return data
        references = self._references
        return self._tokens.sub(lambda found: orjson.dumps(references[orjson.loads(found.group())]), data)

    def _starred(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._starred(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._starred(each) for each in value]
        return value
