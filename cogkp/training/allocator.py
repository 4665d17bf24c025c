"""Keep large blocks of memory between steps instead of returning them to the system.

glibc gives every large block back to the system and fetches it anew, page by page. On small networks with large
activations that costs up to half of a CPU training step.
"""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 256 << 20
NEVER_TRIM = 2**31 - 1


def keep_large_blocks() -> bool:
    """Tell glibc to serve large blocks from the heap and to keep them; return whether it listened.

    Does nothing elsewhere. Costs memory: the process stays at its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER_TRIM), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
