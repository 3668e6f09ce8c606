"""Whether PostgreSQL plans a statement for the values it is asked with, or once for all.

To plan a lookup takes longer than to run it, so the fixed statements, the blocks of the .sql
files, keep the plan that was made for their first use. It can only be one along an index, as
scans are off: a plan from a time when a table was nearly empty would be a scan of all of it
later. What a search is made of is planned anew each time, and may scan.
"""

from __future__ import annotations

from enum import Enum


class Plans(Enum):
    """The value are the settings, for the rest of a transaction."""

    KEPT = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
    ANEW = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = on"
