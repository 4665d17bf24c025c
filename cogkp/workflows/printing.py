"""Results that print themselves: a short text in a terminal, with a drawing in a notebook."""

import html
from abc import ABC, abstractmethod
from pathlib import Path

from cogkp.visual.markup import data_uri

WIDEST_PX = 900


class Printable(ABC):
    """A result whose ``repr`` is for people."""

    @abstractmethod
    def summary(self) -> str:
        """Say in a few lines what was found, and where it lies."""

    def drawing(self) -> Path | None:
        """Return a PNG file that says more than words; None where there is none."""
        return None

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        text, drawing = f"<pre>{html.escape(self.summary())}</pre>", self.drawing()
        if drawing is None or not drawing.is_file():
            return text
        return f'{text}<img src="{data_uri(drawing.read_bytes())}" style="max-width: min(100%, {WIDEST_PX}px)">'
