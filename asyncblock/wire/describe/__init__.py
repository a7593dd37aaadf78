"""The wire as documents: JSON Schema, AsyncAPI and a reference page, all made from the types of messages."""

from __future__ import annotations

from .asyncapi import asyncapi
from .page import reference_page
from .schema import json_schema

__all__ = ["asyncapi", "json_schema", "reference_page"]
