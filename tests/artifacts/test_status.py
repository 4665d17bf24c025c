import json
import math
from datetime import datetime

import pytest

from cogkp.artifacts.status import StatusLog, status_line
from cogkp.errors import OutputError

MOMENT = datetime(2026, 11, 21, 8, 24, 5)


def log_in(folder):
    return StatusLog(folder / "train" / "status.json", clock=lambda: MOMENT)


def lines(log):
    return [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]


def test_each_line_is_an_object_with_the_known_keys(tmp_path):
    log = log_in(tmp_path)
    log.write("STARTED", "training begins")
    log.write("RUNNING", "epoch 1", facts={"epoch": 1, "max_epoch": 10, "eta": "0:01:00"}, kpi={"val_3DIoU": 0.5})
    log.write("FAILURE", "no space", verbosity="ERROR")
    first, second, third = lines(log)
    assert first == {
        "date": "11/21/2026",
        "time": "8:24:5",
        "status": "STARTED",
        "verbosity": "INFO",
        "message": "training begins",
    }
    assert list(first) == list(second)[:5]
    assert (second["epoch"], second["max_epoch"], second["eta"], second["kpi"]) == (
        1,
        10,
        "0:01:00",
        {"val_3DIoU": 0.5},
    )
    assert (third["status"], third["verbosity"]) == ("FAILURE", "ERROR")


def test_a_second_run_adds_to_the_first(tmp_path):
    log_in(tmp_path).write("SUCCESS", "one")
    before = log_in(tmp_path).path.read_bytes()
    log_in(tmp_path).write("STARTED", "two")
    assert log_in(tmp_path).path.read_bytes().startswith(before)
    assert [line["message"] for line in lines(log_in(tmp_path))] == ["one", "two"]


def test_a_line_cut_short_spoils_no_other(tmp_path):
    log = log_in(tmp_path)
    log.write("RUNNING", "one")
    with log.path.open("ab") as stream:
        stream.write(b'{"date": "11/2')
    log.write("RUNNING", "two")
    whole = log.path.read_text().splitlines()
    assert [json.loads(whole[0])["message"], json.loads(whole[2])["message"]] == ["one", "two"]
    assert len(whole) == 3


def test_a_message_stays_one_line(tmp_path):
    log = log_in(tmp_path)
    log.write("FAILURE", "first\nsecond\u2028é")
    assert lines(log)[0]["message"] == "first\nsecond\u2028é"


def test_numbers_that_are_none_become_null():
    kpi = {"a": math.nan, "b": [1.5, math.inf], "c": {"d": -math.inf, "e": 2}}
    line = json.loads(status_line(MOMENT, "RUNNING", "", kpi=kpi, facts={"loss": math.nan}))
    assert line["kpi"] == {"a": None, "b": [1.5, None], "c": {"d": None, "e": 2}}
    assert line["loss"] is None


def test_facts_replace_no_known_key():
    assert (
        json.loads(status_line(MOMENT, "RUNNING", "m", facts={"status": "SUCCESS", "step": 3}))["status"] == "RUNNING"
    )


def test_a_place_that_cannot_be_written_gives_one_line(tmp_path):
    (tmp_path / "train").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write @"):
        log_in(tmp_path).write("STARTED", "")
    (tmp_path / "other" / "train" / "status.json").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot write @"):
        log_in(tmp_path / "other").write("STARTED", "")
