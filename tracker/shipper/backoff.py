"""How long to wait before trying again: exponential, with full jitter.

Full jitter (a uniform draw up to the bound) keeps a thousand clients whose server comes
back from arriving at once; see the AWS architecture blog, "Exponential Backoff And Jitter".
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 15.0


@dataclass(slots=True)
class Backoff:
    failures: int = 0
    random: random.Random = field(default_factory=random.Random)

    def next_s(self, *, retry_after_s: float | None = None) -> float:
        """Count a failure; return how many seconds to wait. A server's own word comes first."""
        self.failures += 1
        if retry_after_s is not None:
            return retry_after_s + self.random.uniform(0, FIRST_S)
        bound = min(LONGEST_S, FIRST_S * 2 ** min(self.failures, 16))
        return self.random.uniform(FIRST_S / 2, bound)

    def reset(self) -> None:
        self.failures = 0
