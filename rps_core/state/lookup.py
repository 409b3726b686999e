"""Find a session by NAME: a name or label, a prefix of one, or nothing for the only live one."""

from __future__ import annotations

from rps_core.errors import NotFoundError, UsageError
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store
from rps_core.text import did_you_mean


def find(store: Store, wanted: str | None) -> SessionRecord:
    """Return the session of this name or label, or the only one that begins so; None: the only live one.

    A whole name comes first, then a whole label. Of several ended sessions with this label it is the last.

    Raises:
        NotFoundError: there is none.
        UsageError: there is more than one.
    """
    if wanted == "":
        raise UsageError("NAME is empty", "Leave it out if only one session is running.")
    records = list(store.records())
    matching = _matching(records, wanted)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        hint = "`rps start` starts one; `rps list --all` shows ended ones."
        if wanted is None:
            raise NotFoundError("You have no running session", hint)
        known = (word for one in records for word in (one.name, one.label) if word)
        near = did_you_mean(wanted, known, shortened=True)
        raise NotFoundError(f"You have no session `{wanted}`", f"{near}{hint}")
    names = ", ".join(record.called for record in matching)
    raise UsageError(
        f"NAME is ambiguous: {names}", "Give a name or a label, or a unique prefix of one."
    )


def _matching(records: list[SessionRecord], wanted: str | None) -> list[SessionRecord]:
    if wanted is None:
        return [record for record in records if record.ended is None]
    word = wanted.lower()
    named = [record for record in records if record.name == word]
    labelled = [record for record in records if record.label and record.label.lower() == word]
    living = [record for record in labelled if record.ended is None]
    beginning = [record for record in records if record.is_called(word)]
    return (
        named
        or living
        or sorted(labelled, key=end_of)[-1:]
        or [record for record in beginning if record.ended is None]
        or beginning
    )


def find_last(store: Store, wanted: str | None) -> SessionRecord:
    """Return the session as `find` does; None: without a live one, the last to end."""
    if wanted is None:
        records = list(store.records())
        if records and all(record.ended is not None for record in records):
            return max(records, key=end_of)
    return find(store, wanted)


def end_of(record: SessionRecord) -> float:
    """Return when a session ended, to sort by; 0 for one that has not."""
    return record.ended or 0.0
