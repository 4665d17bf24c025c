from __future__ import annotations

from datetime import datetime

from cogkp.artifacts.names import timestamp


def test_moments_sort_as_their_names_do():
    moments = [datetime(2025, 12, 31, 23, 59, 59), datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 1)]
    names = [timestamp(lambda moment=moment: moment) for moment in moments]
    assert names == sorted(names)
    assert [datetime.strptime(name, "%Y%m%d-%H%M%S") for name in names] == moments
