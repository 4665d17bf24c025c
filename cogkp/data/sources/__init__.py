"""Where images come from: files, folders, videos, cameras and streams."""

from cogkp.data.sources.base import ENDLESS, Frame, Part, Selection, Source, chosen
from cogkp.data.sources.files import ImageFilesSource
from cogkp.data.sources.opening import open_sources
from cogkp.data.sources.video import LiveSource, VideoSource

__all__ = [
    "ENDLESS",
    "Frame",
    "ImageFilesSource",
    "LiveSource",
    "Part",
    "Selection",
    "Source",
    "VideoSource",
    "chosen",
    "open_sources",
]
