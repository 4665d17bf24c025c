"""The JSON schema and the reference page of the keypoint configuration file.

``python -m cogkp.config.keypoint.schema > docs/configuration.md`` brings the page up to date.
"""

import sys
from typing import Any

from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.schema import DRAFT, object_schema, sections
from cogkp.files import MARK

SCHEMA_FILE = "cogkp-keypoint.schema.json"

INTRODUCTION = f"""\
# Configuration file

A configuration describes one keypoint model and its data.
It is a JSON file in UTF-8.
Every key may be left out; then its default holds.
Unknown keys and values of another type are refused, and all mistakes of a file are reported at once.
`$schema` may point to a JSON schema, so that an editor completes and checks the file.
The template does so: `{SCHEMA_FILE}` is written beside it.

This page is generated: `python -m cogkp.config.keypoint.schema > docs/configuration.md`.
"""


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the keypoint family's configuration file."""
    root = object_schema(KeypointConfig.default())
    pointer = {"type": "string", "description": "Where this schema lies; ignored."}
    root["properties"] = {"$schema": pointer, **root["properties"]}
    return {"$schema": DRAFT, "$comment": MARK, "title": "cogkp keypoint configuration", **root}


def markdown() -> str:
    """Return the reference page."""
    return INTRODUCTION + "".join(sections(KeypointConfig.default(), "", "The file"))


if __name__ == "__main__":
    sys.stdout.write(markdown())
