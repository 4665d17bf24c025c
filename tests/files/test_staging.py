"""Files that appear together, also where somebody is killed on the way."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cogkp.errors import OutputError
from cogkp.files import MARK, in_own_folder, staged_files, staged_folder, write_text

REPOSITORY = Path(__file__).parents[2]

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from cogkp.files import atomic_path, staged_files, staged_folder
    root = Path(sys.argv[1])
    with staged_files(root) as files, staged_folder(root / "made") as folder, atomic_path(root / "a.txt") as draft:
        for path in (files / "b.txt", folder / "c.txt", draft):
            path.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together_and_others_stay(tmp_path):
    (tmp_path / "other.txt").write_text("mine")
    with staged_files(tmp_path / "new" / "folder") as staging:
        (staging / "first.txt").write_text(MARK)
        assert names(tmp_path / "new" / "folder") == [staging.name]
        (staging / "second.txt").write_text(MARK)
    assert names(tmp_path / "new" / "folder") == ["first.txt", "second.txt"]
    with staged_files(tmp_path) as staging:
        (staging / "first.txt").write_text(MARK)
    assert names(tmp_path) == ["first.txt", "new", "other.txt"]


def test_an_error_leaves_nothing(tmp_path):
    def half_way():
        with staged_files(tmp_path) as staging:
            (staging / "first.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_way()
    assert names(tmp_path) == []


def test_one_file_of_somebody_else_keeps_all_from_appearing(tmp_path):
    def write(ours):
        with staged_files(tmp_path, ours=ours) as staging:
            for name in ("a.txt", "b.txt", "c.txt"):
                (staging / name).write_text("ours")

    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write @ .*b\.txt"):
        write(lambda path: path.read_text() == "ours")
    assert names(tmp_path) == ["b.txt"]
    assert (tmp_path / "b.txt").read_text() == "mine"
    write(in_own_folder)
    assert (tmp_path / "b.txt").read_text() == "ours"


def test_a_link_in_the_folder_is_followed(tmp_path):
    (tmp_path / "target.txt").write_text(MARK)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "target.txt")
    with staged_files(tmp_path / "out") as staging:
        (staging / "a.txt").write_text("new")
    assert (tmp_path / "out" / "a.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "new"


def test_what_a_killed_process_left_is_swept_by_the_next_and_hidden_files_of_others_are_not(tmp_path):
    mine = tmp_path / ".made.partial"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    (tmp_path / ".a.12345678.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], cwd=REPOSITORY, check=False, timeout=120
    )
    assert done.returncode == -9
    assert len(names(tmp_path)) == 5
    again = textwrap.dedent("""
        import sys
        from pathlib import Path
        from cogkp.files import write_text
        write_text(Path(sys.argv[1]) / "b.txt", "whole")
    """)
    subprocess.run([sys.executable, "-c", again, str(tmp_path)], cwd=REPOSITORY, check=True, timeout=120)
    assert names(tmp_path) == [".a.12345678.txt", ".made.partial", "b.txt"]
    assert (mine / "notes.txt").read_text() == "mine"


def test_what_somebody_is_at_work_on_is_not_swept(tmp_path):
    again = "import sys, pathlib, cogkp.files; cogkp.files.write_text(pathlib.Path(sys.argv[1]) / 'b.txt', 'whole')"
    with staged_files(tmp_path) as staging:
        (staging / "a.txt").write_text("under way")
        subprocess.run([sys.executable, "-c", again, str(tmp_path)], cwd=REPOSITORY, check=True, timeout=120)
        assert (staging / "a.txt").read_text() == "under way"
    assert names(tmp_path) == ["a.txt", "b.txt"]


def test_a_folder_appears_whole_through_a_link_too(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with staged_folder(tmp_path / "link") as staging:
        write_text(staging / "a.txt", "whole")
        assert names(tmp_path / "real") == []
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["a.txt"]
