"""A session's label: the user's own word for it, beside its name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rps_core.errors import UsageError
from rps_core.state.record import SessionRecord

LONGEST = 40  # characters
# What every shell, table and completion takes as it is; an option begins with a dash.
_LABEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}", re.ASCII)


def is_label(value: object) -> bool:
    """Return whether a value has the form of a label."""
    return isinstance(value, str) and _LABEL.fullmatch(value) is not None


def check_new(label: str, records: Iterable[SessionRecord]) -> None:
    """Check the label of a session that is about to start.

    Raises:
        UsageError: it has another form, or a session that has not ended has it, as label or as name.
    """
    if not is_label(label):
        raise UsageError(
            f"{label!r} cannot be a session's label",
            f"Use at most {LONGEST} letters (a-z), digits, dots, dashes and underscores, with a letter or "
            "digit first.",
        )
    for record in records:
        if record.ended is None and label.lower() in (record.name, (record.label or "").lower()):
            raise UsageError(
                f"{record.called} has the label `{label}` already"
                if record.label
                else f"`{label}` is the name of another session",
                f"Choose another label, or end that session with `rps stop {record.name}`.",
            )
