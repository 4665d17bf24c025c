"""The StructuredDataset form: a folder with ``data.jsonl``, one line per multi-camera frame record, and its images."""

from cogkp.data.keypoint.structured.reader import LINES_FILE, RecordedLine, StructuredDataset, find, read_lines
from cogkp.data.keypoint.structured.recorder import Recorder, record
from cogkp.data.keypoint.structured.writer import write_structured

__all__ = [
    "LINES_FILE",
    "RecordedLine",
    "Recorder",
    "StructuredDataset",
    "find",
    "read_lines",
    "record",
    "write_structured",
]
