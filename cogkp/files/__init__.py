"""Read and write files safely: atomic replacement, staging folders, and no file of others overwritten.

What lies at a name that is to be written decides what happens: a link is followed, a device or a pipe is written
through, and a file is replaced only where this program wrote it, which it sees by a mark in the file or by a test that
the caller brings. docs/decisions/0017-outputs.md says why.
"""

from cogkp.files.lines import LineFile, append_whole
from cogkp.files.names import is_file, is_plain_name, leads_out
from cogkp.files.origin import MARK, Ours, has_mark, in_own_folder, is_json_with, marked, overwriting
from cogkp.files.partial import hold_alone
from cogkp.files.reading import WINDOWS, decoded_text, open_file, read_whole, text_lines
from cogkp.files.staging import staged_files, staged_folder, staging_in
from cogkp.files.writing import (
    atomic_path,
    check_written,
    json_text,
    make_folder,
    require_replaceable,
    share_file,
    write_bytes,
    write_json,
    write_text,
    write_verified,
    writing_to,
)

__all__ = [
    "MARK",
    "WINDOWS",
    "LineFile",
    "Ours",
    "append_whole",
    "atomic_path",
    "check_written",
    "decoded_text",
    "has_mark",
    "hold_alone",
    "in_own_folder",
    "is_file",
    "is_json_with",
    "is_plain_name",
    "json_text",
    "leads_out",
    "make_folder",
    "marked",
    "open_file",
    "overwriting",
    "read_whole",
    "require_replaceable",
    "share_file",
    "staged_files",
    "staged_folder",
    "staging_in",
    "text_lines",
    "write_bytes",
    "write_json",
    "write_text",
    "write_verified",
    "writing_to",
]
