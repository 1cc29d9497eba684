"""How much memory this process has taken."""

import resource
import sys
from pathlib import Path


def peak_memory() -> float:
    """Return the resident memory of this process at its highest, in MiB.

    Linux says it in `/proc`; `getrusage` would count what the process that started this one held.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
