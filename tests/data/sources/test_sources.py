"""Sources give the frames that are asked for, with the numbers they have, and say what is wrong with the others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogkp.data.sources import ENDLESS, Frame, LiveSource, Selection, VideoSource, chosen, open_sources
from cogkp.errors import DataError, Problem
from tests.builders.videos import cut, damaged, number_of, numbered, rotated, write_video

PLACES = st.lists(st.integers(0, 40), min_size=1, max_size=4)


def source(count: int, name: str = "s"):
    """Something of which only the length is asked."""

    class Counted(SimpleNamespace):
        def __len__(self):
            return count

    return Counted(name=name, live=False, fps=0.0)


def numbers_of(part, count):
    """The frames of a part, where the source really has so many."""
    return [number for number in range(count) if number in part.numbers]


@given(PLACES, st.integers(1, 5), st.integers(0, 9), st.none() | st.integers(10, 50), st.integers(1, 6))
def test_parts_join_to_the_whole_and_do_not_overlap(counts, every, start, end, parts):
    sources = [source(count, str(place)) for place, count in enumerate(counts)]
    whole = [
        (str(place), number)
        for place, count in enumerate(counts)
        for number in range(start, count if end is None else min(count, end), every)
    ]
    joined, sizes = [], []
    for part in range(1, parts + 1):
        if not whole:
            return
        mine = [
            (each.source.name, number)
            for each in chosen(sources, Selection(every=every, start=start, end=end, shard=(part, parts)))
            for number in numbers_of(each, len(each.source))
        ]
        joined += mine
        sizes.append(len(mine))
    assert joined == whole
    assert max(sizes) - min(sizes) <= 1


@given(PLACES, st.integers(1, 50), st.integers(1, 4))
def test_a_limit_counts_over_all_sources(counts, limit, parts):
    sources = [source(count) for count in counts]
    if not sum(counts):
        with pytest.raises(DataError, match="no frame is left"):
            chosen(sources, Selection(limit=limit))
        return
    selections = [Selection(limit=limit, shard=(part, parts)) for part in range(1, parts + 1)]
    found = [each for selection in selections for each in chosen(sources, selection)]
    assert sum(each.count for each in found) == min(limit, sum(counts))
    assert sum(len(numbers_of(each, len(each.source))) for each in found) == min(limit, sum(counts))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"every": 0}, "every"),
        ({"start": -1}, "start"),
        ({"start": 5, "end": 5}, "end"),
        ({"limit": 0}, "limit"),
        ({"shard": (3, 2)}, "shard"),
        ({"shard": (0, 2)}, "shard"),
    ],
)
def test_what_cannot_be_chosen_is_refused(wrong, says):
    with pytest.raises(DataError, match=says):
        Selection(**wrong)


def test_a_source_without_an_end_is_not_shared_out_but_can_be_cut():
    live = source(ENDLESS, "camera 0")
    with pytest.raises(DataError, match=r"cannot be shared out @ camera 0"):
        chosen([live], Selection(shard=(1, 2)))
    parts = [chosen([live], Selection(end=10, shard=(part, 2)))[0].numbers for part in (1, 2)]
    assert [*parts[0], *parts[1]] == [*range(10)]
    (endless,) = chosen([live], Selection())
    assert endless.count is None


def test_images_of_a_folder_come_in_the_order_of_their_paths_and_keep_their_tree(tmp_path):
    for name in ("b/2.png", "b/10.jpg", "a.bmp", ".hidden.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("no image")
        else:
            cv2.imwrite(str(tmp_path / name), numbered(1))
    (found,) = open_sources(tmp_path)
    frames = list(found.frames(range(len(found))))
    assert [frame.name for frame in frames] == ["a.bmp", str(Path("b/10.jpg")), str(Path("b/2.png"))]
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.image for frame in found.frames(range(1, 3))] == [tmp_path / "b/10.jpg", tmp_path / "b/2.png"]


def test_patterns_lists_and_single_files_are_taken(tmp_path):
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        cv2.imwrite(str(tmp_path / str(number) / "x.png"), numbered(number))
    by_pattern = open_sources(str(tmp_path / "*" / "x.png"))
    listed = open_sources([tmp_path / str(number) / "x.png" for number in range(3)])
    for found in (by_pattern, listed):
        (one,) = found
        assert [frame.name for frame in one.frames(range(3))] == [str(Path(f"{n}/x.png")) for n in range(3)]
    with pytest.raises(DataError, match=r"no file fits the pattern"):
        open_sources(str(tmp_path / "*.gif"))


def test_a_folder_of_images_and_videos_gives_both(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), numbered(1))
    write_video(tmp_path / "b.mp4", 3)
    cv2.imwrite(str(tmp_path / "c.png"), numbered(2))
    assert [len(each) for each in open_sources(tmp_path)] == [1, 3, 1]


@pytest.mark.parametrize("name", ["nothing.png", "folder/without", "x" * 5000])
def test_what_is_not_there_is_said_in_one_line(tmp_path, name):
    with pytest.raises(DataError, match="no such source") as found:
        open_sources(tmp_path / name)
    assert "\n" not in str(found.value)
    with pytest.raises(DataError, match="neither images nor videos"):
        open_sources(tmp_path)
    with pytest.raises(DataError, match="there is no source"):
        open_sources([])


@pytest.mark.parametrize(("suffix", "fourcc"), [("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "FFV1"), ("avi", "XVID")])
def test_frames_of_a_video_have_their_numbers_and_times(tmp_path, suffix, fourcc):
    video = VideoSource.of(write_video(tmp_path / f"v.{suffix}", 20, fps=12.5, fourcc=fourcc))
    assert (len(video), round(video.fps, 3), video.rotation_deg) == (20, 12.5, 0)
    for numbers in (range(20), range(3, 20, 4), range(0, ENDLESS, 7)):
        frames = [*video.frames(numbers)]
        assert [frame.number for frame in frames] == [number for number in range(20) if number in numbers]
        assert [number_of(frame.image) for frame in frames] == [frame.number for frame in frames]
        np.testing.assert_allclose([each.time_s for each in frames], [each.number / 12.5 for each in frames], atol=1e-3)


def test_a_rotation_that_a_video_notes_is_applied(tmp_path):
    video = VideoSource.of(rotated(write_video(tmp_path / "v.mp4", 3)))
    assert video.rotation_deg % 180 == 90
    (frame, *_) = video.frames(range(3))
    assert frame.image.shape == (96, 64, 3)


def test_a_damaged_frame_is_named_and_the_others_keep_their_numbers(tmp_path):
    video = VideoSource.of(damaged(write_video(tmp_path / "v.avi", 12, fourcc="MJPG"), 5))
    items = [*video.frames(range(12))]
    (problem,) = [item for item in items if isinstance(item, Problem)]
    assert problem.where.endswith("v.avi frame 5")
    frames = [item for item in items if isinstance(item, Frame)]
    assert [number_of(frame.image) for frame in frames] == [frame.number for frame in frames]
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert not [item for item in video.frames(range(6, 12)) if isinstance(item, Problem)]


def test_a_video_that_is_cut_off_says_where_it_ends(tmp_path):
    video = VideoSource.of(cut(write_video(tmp_path / "v.avi", 20, fourcc="MJPG")))
    *frames, problem = video.frames(range(0, ENDLESS))
    assert [number_of(frame.image) for frame in frames] == [*range(len(frames))]
    assert 5 < len(frames) < 20
    assert problem.where.endswith(f"v.avi frame {len(frames)}")
    assert not [item for item in video.frames(range(3)) if isinstance(item, Problem)]


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"no video at all" * 99, "Is it whole"), (None, "No such file")]
)
def test_what_is_no_video_is_refused(tmp_path, content, says):
    path = tmp_path / "v.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        VideoSource.of(path)


def test_an_mp4_file_without_its_index_is_refused(tmp_path):
    with pytest.raises(DataError, match="Is it whole"):
        VideoSource.of(cut(write_video(tmp_path / "v.mp4", 20)))


def test_a_video_without_frames_is_refused(tmp_path):
    for name, code in (("v.mp4", "mp4v"), ("v.avi", "MJPG")):
        cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*code), 25.0, (96, 64)).release()
        with pytest.raises(DataError, match=r"not a video|no frame"):
            VideoSource.of(tmp_path / name)


def test_an_absent_camera_is_said(tmp_path):
    for address in (93, "http://127.0.0.1:1/stream"):
        with pytest.raises(DataError, match="the camera cannot be opened"):
            next(LiveSource(address).frames(range(3)))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a device file")
def test_a_device_that_is_no_camera_is_said():
    (found,) = open_sources("/dev/null")
    with pytest.raises(DataError, match="the camera cannot be opened @ /dev/null"):
        next(found.frames(range(3)))
