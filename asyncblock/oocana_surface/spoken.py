"""Values as blocks of ``oocana`` get and send them, where that package has another form than we have."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import oocana

from ..context.secrecy import CredentialInput

__all__ = ["OocanaCredential", "as_json", "with_credentials"]


class OocanaCredential(oocana.CredentialInput):  # type: ignore[misc]  # the package has no types
    """What a block gets on a credential handle: of that package's class, with the reference that may travel on."""

    def __init__(self, given: CredentialInput) -> None:
        super().__init__(given.type, given.id)
        self.given = given

    @property
    def reference(self) -> str:
        """What travels in its place."""
        return str(self.given)


def with_credentials(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs with credentials of that package's class; the same dict where there are none."""
    found = {name: OocanaCredential(each) for name, each in inputs.items() if isinstance(each, CredentialInput)}
    if found or not isinstance(inputs, dict):
        return {**inputs, **found}
    return inputs


_LOOKED_AT: Final = 10_000
"""Members of a value that are looked at: to look through a large one would cost as much as to send it."""


def as_json(value: Any) -> Any:
    """Return a value that our JSON carries, where theirs carries what ours doesn't: bytes as text, None as a key."""
    if not _is_foreign(value):
        return value
    from simplejson import loads

    try:
        return loads(oocana.dumps(value))
    except (TypeError, ValueError, RecursionError):
        # Ours says what is wrong with it, and where in it.
        return value


def _is_foreign(value: Any) -> bool:
    """Tell whether there are bytes in a value, or a None among its keys."""
    waiting = [value]
    left = _LOOKED_AT
    while waiting and left > 0:
        each = waiting.pop()
        left -= 1
        if isinstance(each, bytes):
            return True
        if type(each) is dict:
            if None in each:
                return True
            waiting.extend(islice(each.values(), left))
        elif type(each) in (list, tuple):
            waiting.extend(islice(each, left))
    return False
