"""Check names that come from other people's files before they become paths."""

from pathlib import Path

LONGEST_NAME = 255
"""Bytes that file systems allow."""


def is_plain_name(name: str) -> bool:
    """Say whether a word names a file or folder within a folder, and leads nowhere else on any system.

    Example:
        >>> [is_plain_name(name) for name in ("20260131-090507", "../victim", "a/b", "C:x", "..", "")]
        [True, False, False, False, False, False]
    """
    fits = len(name.encode("utf-8", "replace")) <= LONGEST_NAME
    return bool(name) and fits and not leads_out(name) and not set(name) & set("/\\") and name != "."


def leads_out(name: str) -> bool:
    r"""Say whether a relative path leaves its folder, by the rules of every system at once.

    Example:
        >>> [leads_out(name) for name in ("a/b.png", "/a", "a/../../b", "..\\b", "C:b")]
        [False, True, True, True, True]
    """
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "" or parts[0][1:2] == ":" or ".." in parts or "\0" in name


def is_file(path: Path) -> bool:
    """Say whether there is such a file; a name that no file system can hold is none."""
    try:
        return path.is_file()
    except OSError:
        return False
