"""What a notebook shows of a result: its text, escaped, and its drawing where there is one."""

from pathlib import Path

import numpy as np
import pytest

from cogkp.data.images import write_png
from cogkp.workflows.printing import Printable


class Result(Printable):
    def __init__(self, path: Path | None) -> None:
        self.path = path

    def summary(self) -> str:
        return "error < 1 px"

    def drawing(self) -> Path | None:
        return self.path


@pytest.mark.parametrize("name", [None, "gone.png"])
def test_without_a_drawing_the_text_stands_alone(tmp_path, name):
    result = Result(name and tmp_path / name)
    assert repr(result) == "error < 1 px"
    assert result._repr_html_() == "<pre>error &lt; 1 px</pre>"


def test_the_drawing_stands_below_the_text(tmp_path):
    write_png(tmp_path / "drawn.png", np.zeros((4, 5, 3), np.uint8))
    shown = Result(tmp_path / "drawn.png")._repr_html_()
    assert shown.startswith('<pre>error &lt; 1 px</pre><img src="data:image/png;base64,')
    assert shown.count("<img") == 1
