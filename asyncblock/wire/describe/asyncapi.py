"""The wire as an AsyncAPI 3.0 document: one channel, the messages of either direction, the schemas of all."""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..messages import MESSAGES, VERSION
from ..states import RECEIVE, ConnectionState, Role
from .prose import about
from .schema import json_schema

__all__ = ["asyncapi"]

_FORMAT: Final = "application/schema+json;version=2020-12"

_BATCH: Final = "Records: the control line, then a line with a JSON array of records for each of its channels."
_CHUNK: Final = "A part of a body: 0x01, the body's number and the offset (64 bits each, big-endian), then its bytes."


def asyncapi() -> dict[str, Any]:
    """Return the document. A text message of the wire holds one or more of these messages, a line each."""
    schema = json_schema()
    schemas = orjson.loads(orjson.dumps(schema["$defs"]).replace(b'"#/$defs/', b'"#/components/schemas/'))
    messages: dict[str, Any] = {op: _message(op, about(cls)) for op, cls in MESSAGES.items()}
    messages["batch"] = _message("batch", _BATCH)
    messages["chunk"] = {"contentType": "application/octet-stream", "summary": _CHUNK}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "asyncblock",
            "version": f"{VERSION}",
            "description": (
                "Executors and clients speak with a mainframe over a websocket. This document has the messages; which "
                "of them follows which, resumption and the reasons stand in the specification: 'asyncblock wire'."
            ),
        },
        "servers": {
            "mainframe": {
                "host": "127.0.0.1:7788",
                "protocol": "ws",
                "security": [{"type": "http", "scheme": "bearer"}],
            }
        },
        "channels": {
            "link": {
                "address": "/",
                "description": "A link's connection. A text message is control lines; a binary one is a chunk.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "headers": {
                            "type": "object",
                            "properties": {"Sec-WebSocket-Protocol": {"const": f"asyncblock.v{VERSION}"}},
                        },
                    }
                },
            }
        },
        "operations": {
            "up": _operation("receive", "What the mainframe receives.", Role.UPPER),
            "down": _operation("send", "What the mainframe sends.", Role.LOWER),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _message(op: str, words: str) -> dict[str, Any]:
    payload = {"schemaFormat": _FORMAT, "schema": {"$ref": f"#/components/schemas/message.{op}"}}
    return {"name": op, "contentType": "application/json", "summary": words, "payload": payload}


def _operation(action: str, words: str, role: Role) -> dict[str, Any]:
    ops = {op: None for state in ConnectionState for op in RECEIVE[role][state]}
    return {
        "action": action,
        "summary": words,
        "channel": {"$ref": "#/channels/link"},
        "messages": [{"$ref": f"#/channels/link/messages/{op}"} for op in ops],
    }
