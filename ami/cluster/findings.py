"""What a look at a machine or a cluster finds: what was seen, and its mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

PROBLEM: Final = "problem"  # something does not work, or will not when it is needed
WARNING: Final = "warning"  # works, and somebody should look


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. ``mend``: what to do, as a command where there is one."""

    severity: str
    about: str
    seen: str
    mend: str

    def to_plain(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"severity": self.severity, "about": self.about, "seen": self.seen, "mend": self.mend}


def problem(about: str, seen: str, mend: str) -> Finding:
    return Finding(PROBLEM, about, seen, mend)


def warning(about: str, seen: str, mend: str) -> Finding:
    return Finding(WARNING, about, seen, mend)
