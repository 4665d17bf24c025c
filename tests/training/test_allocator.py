from __future__ import annotations

import platform

from cogkp.training.allocator import keep_large_blocks


def test_it_acts_on_glibc_and_is_silent_elsewhere():
    assert keep_large_blocks() == (platform.libc_ver()[0] == "glibc")
