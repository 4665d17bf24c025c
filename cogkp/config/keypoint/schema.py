"""The JSON schema of the keypoint configuration file."""

from __future__ import annotations

from typing import Any

from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.schema import DRAFT, object_schema
from cogkp.files import MARK

__all__ = ["SCHEMA_FILE", "json_schema"]

SCHEMA_FILE = "cogkp-keypoint.schema.json"


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the keypoint family's configuration file."""
    root = object_schema(KeypointConfig.default())
    pointer = {"type": "string", "description": "Where this schema lies; ignored."}
    root["properties"] = {"$schema": pointer, **root["properties"]}
    return {"$schema": DRAFT, "$comment": MARK, "title": "cogkp keypoint configuration", **root}
