from __future__ import annotations

import pytest

from cogkp.config.torchrun import ALONE, Launch, launched
from cogkp.errors import ConfigError


def environment(rank: object, ranks: object, local: object) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(local)}


@pytest.mark.parametrize(
    "found", [{}, {"WORLD_SIZE": "1"}, environment(0, 1, 0), {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}]
)
def test_one_process_is_alone_also_in_a_job_of_slurm(found):
    assert launched(found) == ALONE
    assert ALONE.first


def test_torchrun_names_each_process():
    launch = launched(environment(9, 16, 1))
    assert launch == Launch(rank=9, ranks=16, local_rank=1)
    assert not launch.first
    assert str(launch) == "rank 9 of 16"


@pytest.mark.parametrize(
    "found",
    [
        environment(2, 2, 0),
        environment(0, 2, 1),
        environment("", 2, 0),
        environment(-1, 2, 0),
        environment(0, "many", 0),
        environment(0, 0, 0),
        {"WORLD_SIZE": "4"},
        {"WORLD_SIZE": ""},
    ],
)
def test_an_environment_that_contradicts_itself_is_refused_in_one_line(found):
    with pytest.raises(ConfigError) as caught:
        launched(found)
    assert str(caught.value).startswith("the environment does not say which rank this process has")
    assert len(str(caught.value).splitlines()) == 1
