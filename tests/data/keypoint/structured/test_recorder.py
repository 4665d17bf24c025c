"""Recording: what is recorded is read back exactly, whoever dies, however many record, however full the disk is."""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cogkp
from cogkp.data.images import encode_image, read_mask
from cogkp.data.keypoint.structured import read_lines
from cogkp.errors import DataError, OutputError
from tests.builders.small_disk import on_a_small_disk
from tests.data.keypoint.structured.test_writer import records, same

ROOT = Path(__file__).parents[4]
GREY = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (5, 7, 3), dtype=np.uint16)


def contents(root):
    return [line.content for line in read_lines(root)]


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(records, records, records, st.none() | st.floats(-1e9, 1e9)), min_size=1, max_size=3))
def test_what_is_recorded_is_read_back(moments):
    with tempfile.TemporaryDirectory() as folder:
        with cogkp.record(folder) as recorder:
            numbers = [recorder.add(a, export=b, debug=c, time_s=t) for a, b, c, t in moments]
        assert numbers == list(range(1, len(moments) + 1))
        for read, (frames, export, debug, time_s) in zip(contents(folder), moments, strict=True):
            written = {**frames, "export": export, "debug": debug} | ({} if time_s is None else {"time_s": time_s})
            assert same(read, written, Path(folder))


def test_scopes_and_times_that_are_not_given_are_not_written(tmp_path):
    with cogkp.record(tmp_path) as recorder:
        recorder.add({"B": {"image": GREY}})
        recorder.add({}, export={}, debug={}, time_s=0.0)
    assert contents(tmp_path) == [{"B": {"image": "B.image/000000.png"}}, {"time_s": 0.0, "export": {}, "debug": {}}]


def test_masks_16_bits_turned_colours_and_missing_points_keep_their_meaning(tmp_path):
    turned = np.repeat(GREY[..., None], 3, axis=2) + np.arange(3, dtype=np.uint8)
    with cogkp.record(tmp_path, suffix=".jpg") as recorder:
        recorder.add({"a": GREY, "b": DEEP, "c": DEEP[..., 0], "d": turned[..., ::-1], "p": [np.nan, np.float32(2.5)]})
    (line,) = contents(tmp_path)
    assert np.array_equal(read_mask(tmp_path / line["a"], (7, 5)), GREY)
    assert same({name: line[name] for name in "bc"}, {"b": DEEP, "c": DEEP[..., 0]}, tmp_path)
    assert (tmp_path / line["d"]).read_bytes() == encode_image(np.ascontiguousarray(turned[..., ::-1]), ".jpg")
    assert line["p"] == [None, 2.5]


def test_a_line_is_there_as_soon_as_it_was_added_and_the_array_is_free(tmp_path):
    frame = GREY.copy()
    with cogkp.record(tmp_path) as recorder:
        for shade in range(3):
            frame[:] = shade
            assert recorder.add({"B": frame}) == len(contents(tmp_path)) == shade + 1
    shades = [int(cv2.imread(str(tmp_path / line["B"]), cv2.IMREAD_UNCHANGED).max()) for line in contents(tmp_path)]
    assert shades == [0, 1, 2]


@pytest.mark.parametrize("name", ["export", "debug", "time_s"])
def test_names_with_arguments_of_their_own_are_not_taken_twice(tmp_path, name):
    with cogkp.record(tmp_path) as recorder, pytest.raises(DataError, match=f"'{name}'.*add"):
        recorder.add({name: {}})


@pytest.mark.parametrize("wrong", [{"export": [1]}, {"debug": []}, {"frames": None}, {"frames": GREY}])
def test_frames_and_scopes_are_dictionaries(tmp_path, wrong):
    ((name, value),) = wrong.items()
    with cogkp.record(tmp_path) as recorder:
        with pytest.raises(DataError, match=f"not a dictionary @ {name}.*got {type(value).__name__}"):
            recorder.add(**{"frames": {}, **wrong})
        with pytest.raises(DataError, match="dictionary"):
            recorder.add_line([wrong])
        assert recorder.add({}, export=None, debug=None) == 1


def test_images_of_the_wrong_type_are_refused_and_not_spelt_out_as_numbers(tmp_path):
    with cogkp.record(tmp_path) as recorder:
        for wrong in (np.zeros((200, 300), np.float32), np.zeros((4, 4), np.int64), np.zeros((4, 4, 2), np.uint8)):
            with pytest.raises(DataError, match=rf"B: expected an image as uint8 .* got {wrong.dtype}") as caught:
                recorder.add({"B": wrong})
            assert "\n" not in str(caught.value)
        (tmp_path / "empty.png").touch()
        with pytest.raises(DataError, match="empty"):
            recorder.add({"B": tmp_path / "empty.png"})
        assert recorder.add({"K": np.eye(3)}) == 1


def test_a_failed_line_leaves_no_file_and_costs_no_other(tmp_path):
    with cogkp.record(tmp_path) as recorder:
        recorder.add({"B": GREY})
        with pytest.raises(DataError):
            recorder.add({"B": GREY, "C": GREY, "D": object()})
        assert files(tmp_path) == ["B/000000.png", "data.jsonl"]
        assert recorder.add({"B": GREY}) == 2
    assert all((tmp_path / line["B"]).is_file() for line in contents(tmp_path))


def test_nothing_recorded_leaves_nothing(tmp_path):
    with cogkp.record(tmp_path / "new") as recorder, pytest.raises(DataError):
        recorder.add({"B": GREY, "C": object()})
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "calibration.config.json").touch()
    for append in (False, True):
        cogkp.record(tmp_path / "old", append=append).close()
    assert files(tmp_path) == ["old/calibration.config.json"]


def test_a_closed_recorder_says_so(tmp_path):
    recorder = cogkp.record(tmp_path)
    recorder.add({"n": 1})
    recorder.close()
    recorder.close()
    with pytest.raises(OutputError, match="closed"):
        recorder.add({"B": GREY})
    assert files(tmp_path) == ["data.jsonl"]


def test_an_interruption_keeps_what_was_recorded(tmp_path):
    def interrupted():
        with cogkp.record(tmp_path) as recorder:
            recorder.add({"n": 1})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == [{"n": 1}]


# Where a recording may begin


def test_what_others_have_there_is_refused(tmp_path):
    with cogkp.record(tmp_path / "set") as recorder:
        recorder.add({"n": 1})
    with pytest.raises(OutputError, match=r"data set already.*append=True"):
        cogkp.record(tmp_path / "set")
    with pytest.raises(OutputError, match="folder of no data set"):
        cogkp.record(tmp_path)
    with pytest.raises(OutputError, match="folder of no data set"):
        cogkp.record(tmp_path, append=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        cogkp.record(tmp_path / "file")
    (tmp_path / "odd" / "data.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match="no file"):
        cogkp.record(tmp_path / "odd", append=True)
    assert contents(tmp_path / "set") == [{"n": 1}]
    assert files(tmp_path) == ["file", "set/data.jsonl"]


def test_two_recorders_never_share_a_folder(tmp_path):
    with cogkp.record(tmp_path) as recorder:
        recorder.add({"n": 1})
        with pytest.raises(OutputError, match="another recorder"):
            cogkp.record(tmp_path, append=True)
        code = "import cogkp, sys; cogkp.record(sys.argv[1], append=True)"
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert "another recorder writes here" in done.stderr
        recorder.add({"n": 2})
    with cogkp.record(tmp_path, append=True) as recorder:
        assert recorder.add({"n": 3}) == 3
    assert [line["n"] for line in contents(tmp_path)] == [1, 2, 3]


# Going on


def test_a_recording_goes_on_behind_images_of_any_name(tmp_path):
    (tmp_path / "B").mkdir()
    kept = {"000007.png": b"of line 1", "000002.png": b"of no line", "note.txt": b"mine"}
    for name, content in kept.items():
        (tmp_path / "B" / name).write_bytes(content)
    (tmp_path / "data.jsonl").write_text('{"B": "B/000007.png"}')  # without an end of line, as some editors leave it
    with cogkp.record(tmp_path, append=True) as recorder:
        assert recorder.add({"B": GREY}) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "B").iterdir() if path.name in kept} == kept
    assert contents(tmp_path) == [{"B": "B/000007.png"}, {"B": "B/000008.png"}]


def test_images_are_numbered_as_their_lines_are(tmp_path):
    for _ in range(2):
        with cogkp.record(tmp_path, append=True) as recorder:
            for frames in ({"B": GREY}, {"n": 1}):
                recorder.add(frames)
    assert files(tmp_path) == ["B/000000.png", "B/000002.png", "data.jsonl"]


def test_a_recording_whose_first_line_never_came_goes_on(tmp_path):
    (tmp_path / "data.jsonl").touch()
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "000000.png").write_bytes(b"half an im")
    for numbers in ((), (1, 2), (3,)):
        with cogkp.record(tmp_path, append=True) as recorder:
            assert tuple(recorder.add({"B": GREY}) for _ in numbers) == numbers
    assert [line["B"] for line in contents(tmp_path)] == [f"B/00000{number}.png" for number in (1, 2, 3)]


def test_blanks_behind_the_last_line_are_no_line_but_count_as_in_an_editor(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"n": 1}\n  ')
    with cogkp.record(tmp_path, append=True) as recorder:
        assert recorder.add({"n": 2}) == 3
    assert [line.number for line in read_lines(tmp_path)] == [1, 3]


def test_a_last_line_cut_off_anywhere_is_left_out_and_gone_on_from(tmp_path, caplog):
    with cogkp.record(tmp_path) as recorder:
        for number in range(3):
            recorder.add({"B": GREY, "n": number, "text": 'größer "\\\n'})
    whole = (tmp_path / "data.jsonl").read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(whole) - 1):
        (tmp_path / "data.jsonl").write_bytes(whole[:end])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert [line["n"] for line in contents(tmp_path)] == [0, 1]
        assert "data.jsonl:3: the last line was cut off" in caplog.text
        with cogkp.record(tmp_path, append=True) as recorder:
            assert recorder.add({"n": 9}) == 3
        assert (tmp_path / "data.jsonl").read_bytes() == whole[:start] + b'{"n": 9}\n'
    (tmp_path / "data.jsonl").write_bytes(whole[:-1])  # all but its end is there: it counts
    with cogkp.record(tmp_path, append=True) as recorder:
        assert recorder.add({"n": 9}) == 4
    assert [line["n"] for line in contents(tmp_path)] == [0, 1, 2, 9]


@pytest.mark.parametrize("last", ["[1, 2]", "no JSON at all"])
def test_an_end_that_no_recorder_wrote_is_refused_and_stays(tmp_path, last):
    (tmp_path / "data.jsonl").write_text(f'{{"n": 1}}\n{last}')
    with pytest.raises(DataError, match=r"data\.jsonl:2"):
        cogkp.record(tmp_path, append=True)
    assert (tmp_path / "data.jsonl").read_text().endswith(last)
    with pytest.raises(DataError):
        read_lines(tmp_path)


def test_a_torn_line_in_the_middle_is_an_error(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(DataError, match=r"data\.jsonl:2"):
        read_lines(tmp_path)


# Whoever dies, however many record, however full the disk is


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_whole_lines_and_their_images(tmp_path):
    command = [sys.executable, "-m", "tests.builders.recording_kills", str(tmp_path / "set"), "25", "3"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faults"] == []
    assert said["whole"]
    assert said["lines"] > 50
    assert said["orphans"] > 0  # deaths between an image and its line did occur


@pytest.fixture
def restless():
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_threads_lose_and_mix_nothing(tmp_path):
    per_thread, numbers = 40, {}
    with cogkp.record(tmp_path) as recorder:

        def work(own):
            for step in range(per_thread):
                shade = np.full((6, 8), 16 * own + step % 16, np.uint8)
                numbers[recorder.add({"B": shade, "C": {"image": shade}, "id": [own, step]})] = [own, step]

        threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = contents(tmp_path)
    assert numbers == {place: line["id"] for place, line in enumerate(lines, start=1)}
    assert sorted(map(tuple, numbers.values())) == [(own, step) for own in range(4) for step in range(per_thread)]
    for line in lines:
        own, step = line["id"]
        for name in (line["B"], line["C"]["image"]):
            assert np.unique(cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)) == [16 * own + step % 16]
    assert [step for own, step in map(tuple, (line["id"] for line in lines)) if own == 0] == list(range(per_thread))


ON_A_SMALL_DISK = """
    import json, subprocess, sys
    from pathlib import Path
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", sys.argv[1]], check=True)
    import numpy as np
    import cogkp
    root = Path(sys.argv[1]) / "set"
    rng = np.random.default_rng(0)
    recorder = cogkp.record(root)

    def fill(**more):
        for number in range(10_000):
            frame = rng.integers(0, 256, (64, 64), dtype=np.uint8)
            try:
                recorder.add({"LL": {"image": frame}, "LR": {"image": frame}}, debug=more)
            except cogkp.CogkpError as error:
                return str(error)

    print(fill())
    print(fill(note="x" * 3000))
    recorder.add({"n": 1})
    for path in sorted((root / "LL.image").iterdir())[:3]:
        path.unlink()
    recorder.add({"LL": {"image": np.zeros((8, 8), np.uint8)}})
    recorder.close()
    lines = [json.loads(line) for line in (root / "data.jsonl").read_bytes().splitlines()]
    named = {line[eye]["image"] for line in lines for eye in ("LL", "LR") if eye in line}
    there = {path.relative_to(root).as_posix() for path in root.glob("*/*")}
    print(json.dumps([len(lines), sorted(there - named), len(named - there), lines[-2:]]))
"""


def test_a_full_disk_costs_one_line_and_the_recorder_goes_on(tmp_path):
    first, second, end = on_a_small_disk(ON_A_SMALL_DISK, tmp_path).splitlines()
    for said in (first, second):
        assert "got the disk is full. Free some space" in said
        assert str(tmp_path / "disk" / "set") in said
    lines, of_no_line, deleted, last = json.loads(end)
    assert lines > 50
    assert (of_no_line, deleted) == ([], 3)
    assert last[0] == {"n": 1}
    assert last[1]["LL"]["image"].startswith("LL.image/")


def test_a_line_that_does_not_fit_is_taken_back_whole(tmp_path):
    """The limit of a file's size lets a part of the line through, as a nearly full disk does."""
    code = """
import resource, sys, cogkp
recorder = cogkp.record(sys.argv[1])
recorder.add({"n": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for text in ("x" * 5000, "y" * 990):
    try:
        recorder.add({"text": text})
    except cogkp.CogkpError as error:
        print(error)
print(recorder.add({"n": 2}))
recorder.close()
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    *said, number = done.stdout.splitlines()
    assert len(said) == 2
    assert all("larger than this system allows" in line for line in said)
    assert number == "2"
    assert (tmp_path / "data.jsonl").read_text() == '{"n": 1}\n{"n": 2}\n'


def test_recording_needs_no_torch(tmp_path):
    code = "import sys, cogkp; cogkp.record(sys.argv[1]).add({'n': 1}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True).stdout == "False\n"


def test_the_page_runs_and_shows_the_line_that_it_writes(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "data.md").read_text().partition("## Recording\n")[2]
    code, shown = (
        re.search(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1] for kind in ("python", "json")
    )
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    (line,) = contents("recordings/today")
    targets = line["debug"]["training_targets"]["keypoint3_mask"]
    assert targets["LR"].pop("mask") == "debug.training_targets.keypoint3_mask.LR.mask/000000.png"
    assert targets["LR"] == {name: value for name, value in targets["LL"].items() if name != "mask"}
    targets["LR"] = "..."
    assert (json.loads(shown), names["number"]) == (line, 1)
