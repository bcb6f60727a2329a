"""Python's garbage collector, set for a process that keeps a chain's state.

The collector looks for objects that only refer to each other. A node makes few of those (exceptions, cancelled tasks),
and keeps many that are none: every account it has decoded, every event of a block, the newer nodes of the state's tree.
With Python's own thresholds it walks through all of them about once in a full block, for nothing: a tenth of
all processor time. A program that embeds a chain decides for itself; a library has no business here.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["relax_collector"]

#: New objects before the young ones are looked at, and how many such looks before the older and the oldest are. What
#: fifty thousand objects hold in vain for a while is some megabytes.
_THRESHOLDS: Final = (50_000, 20, 50)


def relax_collector() -> None:
    """Look for garbage less often, in this process."""
    gc.set_threshold(*_THRESHOLDS)
