"""Whether PostgreSQL plans a statement for the values it is asked with, or once for all.

To plan a lookup takes longer than to run it, so the fixed statements, the blocks of the .sql
files, keep the plan that was made for their first use, for a second: what was planned while a
table was nearly empty reads all of it, and a moment later it may hold a million rows.
PostgreSQL itself would notice when it next gathers statistics, which is minutes, or never. A
plan that is kept can only be one along an index, as scans are off. What a search is made of is
planned anew each time, and may scan; unless it is best run the same way whatever its values are
(`search.sql_text.ONE_PLAN`). Asked ahead of transactions that keeps its plan, and for longer: the
order of its joins is fixed, and what takes long there is ended, and asked in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

KEPT_S: Final = 1.0
KEPT_AHEAD_S: Final = 10.0


class Plans(Enum):
    """Each is its settings."""

    KEPT = ("force_generic_plan", "off")
    ANEW = ("force_custom_plan", "on")

    @property
    def settings(self) -> Mapping[str, str]:
        return dict(zip(("plan_cache_mode", "enable_seqscan"), self.value, strict=True))

    @property
    def script(self) -> str:
        """Sets them for the rest of a transaction."""
        return f"SELECT {self.columns}"

    @property
    def columns(self) -> str:
        """The same, as what a SELECT gives."""
        return self._columns(is_local=True)

    @property
    def lasting_script(self) -> str:
        """Sets them for the rest of a session."""
        return f"SELECT {self._columns(is_local=False)}"

    def _columns(self, *, is_local: bool) -> str:
        return ", ".join(
            f"set_config('{name}', '{value}', {str(is_local).lower()})"
            for name, value in self.settings.items()
        )
