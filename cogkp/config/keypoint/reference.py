"""The reference page of the keypoint configuration file.

``python -m cogkp.config.keypoint.reference > docs/configuration.md`` brings the page up to date.
"""

from __future__ import annotations

import sys

from cogkp.config.keypoint.schema import SCHEMA_FILE
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.reference import sections

__all__ = ["markdown"]

INTRODUCTION = f"""\
# Configuration file

A configuration describes one keypoint model and its data.
It is a JSON file in UTF-8.
Every key may be left out; then its default holds.
Unknown keys and values of another type are refused, and all mistakes of a file are reported at once.
`$schema` may point to a JSON schema, so that an editor completes and checks the file.
The template does so: `{SCHEMA_FILE}` is written beside it.

This page is generated: `python -m cogkp.config.keypoint.reference > docs/configuration.md`.
"""


def markdown() -> str:
    """Return the reference page."""
    return INTRODUCTION + "".join(sections(KeypointConfig.default(), "", "The file"))


if __name__ == "__main__":
    sys.stdout.write(markdown())
