"""How much memory this process has taken."""

import resource
import sys


def peak_memory() -> float:
    """Return the resident memory of this process at its highest, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
