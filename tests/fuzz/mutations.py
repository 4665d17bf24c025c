"""Damage files at random but reproducibly: bytes, words of a text, values of a JSON document or of a checkpoint."""

from __future__ import annotations

import io
import json
import random
import re
from typing import Any

import torch

from cogkp.artifacts.checksum import verified, with_checksum

NUMBERS = ("0", "-1", "-0.0", "1", "3", "255", "1e308", "-1e308", "1e-320", "1e400", "9" * 25, "9" * 400, "2147483648")
WORDS = (
    *NUMBERS,
    "NaN",
    "Infinity",
    "null",
    "true",
    '""',
    '"x"',
    "[]",
    "{}",
    "[[]]",
    '"\\ud800"',
    '"\\u0000"',
    ".nan",
    "~",
)
PIECES = (
    b"\0",
    b"\xff\xfe",
    b"\xc3",
    b"\x1b[31m",
    b"\n",
    b"\r",
    b"{",
    b"[",
    b"]" * 9,
    b'"',
    b"%YAML:1.0\n",
    b"---\n",
    b"\xef\xbb\xbf",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), "", " ", "x", "a/../b", "/", "\0", "\ud800", "\x1b[31m", "x" * 5000, [], {}, [[]],
    [None],
    [0, 1], {"": 0}, {"a": {"b": []}},
)  # fmt: skip
TOKEN = re.compile(rb'[-+]?[\d.]+(?:[eE][-+]?\d+)?|"[^"\n]*"|\w+|[^\s\w]')


def damaged(content: bytes, suffix: str, draw: random.Random) -> bytes:
    """Return a damaged copy of a file's content; the same for the same draws."""
    if suffix == ".pth" and draw.random() < 0.8:
        return _damaged_checkpoint(content, draw)
    if suffix in (".json", ".jsonl") and draw.random() < 0.7:
        return _damaged_json(content, suffix, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        content = draw.choice(BINARY if suffix in (".png", ".jpg", ".webp", ".tif", ".pth", ".onnx") else TEXT)(
            content, draw
        )
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return b"\0"
    at = draw.randrange(len(content))
    return content[:at] + bytes([draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))]) + content[at + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _drop(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + content[at + draw.choice((1, 4, 30)) :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(PIECES) * draw.choice((1, 1, 3, 2000)) + content[at:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return (
        content[:start] + content[start : start + draw.choice((4, 40, 400))] * draw.choice((2, 3, 50)) + content[start:]
    )


def _word(content: bytes, draw: random.Random) -> bytes:
    found = list(TOKEN.finditer(content))
    if not found:
        return content
    start, end = draw.choice(found).span()
    return content[:start] + draw.choice(WORDS).encode() + content[end:]


def _swap_words(content: bytes, draw: random.Random) -> bytes:
    found = list(TOKEN.finditer(content))
    if not found:
        return content
    (start, end), other = draw.choice(found).span(), draw.choice(found)[0]
    return content[:start] + other + content[end:]


BINARY = (_flip, _flip, _flip, _cut, _drop, _insert, _repeat)
TEXT = (_flip, _cut, _drop, _insert, _repeat, _word, _word, _word, _swap_words, _swap_words)


def _damaged_json(content: bytes, suffix: str, draw: random.Random) -> bytes:
    lines = content.decode("utf-8").splitlines() if suffix == ".jsonl" else [content.decode("utf-8")]
    at = draw.randrange(len(lines))
    document = json.loads(lines[at])
    for _ in range(draw.choice((1, 1, 2, 4))):
        document = replaced(document, draw)
    # A surrogate alone is written as JSON's escape; numbers of 400 digits are spelt out.
    lines[at] = json.dumps(document)
    return "\n".join(lines).encode("utf-8")


def replaced(value: Any, draw: random.Random, values: tuple[Any, ...] = VALUES) -> Any:
    """Copy a value with one part inside it replaced, removed, doubled or wrapped."""
    if isinstance(value, (dict, list, tuple)) and value and draw.random() < 0.9:
        items = dict(enumerate(value)) if not isinstance(value, dict) else dict(value)
        key = draw.choice(list(items))
        action = draw.random()
        if action < 0.1:
            del items[key]
        elif action < 0.2 and isinstance(value, dict):
            items[draw.choice(("", "x", str(key) + "s", "a\nb", str(key).upper()))] = items[key]
        else:
            items[key] = replaced(items[key], draw, values)
        return items if isinstance(value, dict) else type(value)(items.values())
    if draw.random() < 0.2:
        return draw.choice(([value], {"x": value}, [value, value], str(value)))
    return draw.choice(values)


TENSORS: tuple[Any, ...] = (
    torch.zeros(2, 2, dtype=torch.complex64),
    torch.zeros(0),
    torch.tensor(float("nan")),
    torch.zeros(3, dtype=torch.int8),
    torch.eye(2).to_sparse(),
    torch.zeros(1, 1, 1, 1, 1),
)
# torch.load takes plain values alone, and its pickles no text that is half a surrogate pair.
PLAIN = tuple(value for value in VALUES if value != "\ud800")


def _damaged_checkpoint(content: bytes, draw: random.Random) -> bytes:
    """Change values inside a checkpoint, and give it a true checksum again."""
    document = torch.load(io.BytesIO(verified(content)), weights_only=True)
    for _ in range(draw.choice((1, 1, 2, 3))):
        document = replaced(document, draw, (*PLAIN, *TENSORS))
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return with_checksum(buffer.getvalue())
