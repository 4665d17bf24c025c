import json
from pathlib import Path

from cogkp.config.keypoint.io import template
from cogkp.config.keypoint.schema import markdown

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def keys(document):
    return set(document) | {inner for value in document.values() if isinstance(value, dict) for inner in keys(value)}


def test_the_committed_page_is_what_is_generated():
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run: python -m cogkp.config.keypoint.schema > docs/configuration.md"
    )


def test_every_key_has_a_row_with_its_default():
    page = markdown()
    for key in keys(template()):
        assert f"| `{key}` |" in page
    for stage in template()["augmentations"]:
        assert f"### `{stage.pop('type')}`" in page
        for key, value in stage.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
            assert f"| `{json.dumps(value)}` |" in page
            assert row.count(" | ") == 3
