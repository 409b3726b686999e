"""Gold, the allocation manager of Torque and Moab: the user's accounts."""

from __future__ import annotations

import re

from rps_core.plugin import SchedulerError, Shell
from rps_core.schedulers.pbs.directives import PLAIN


def default_account(user: str, shell: Shell) -> str | None:
    """Return the user's only account, or the only one with credit, or None.

    Of several accounts Gold charges the user's default, which need not be the first in the list.
    """
    try:
        done = shell("gbalance", "-u", user)
    except SchedulerError:
        return None  # no Gold here, or it does not answer: qsub needs no account
    accounts = gold_accounts(done.stdout) if done.code == 0 else {}
    for names in (list(accounts), [name for name, credit in accounts.items() if credit > 0]):
        if len(names) == 1 and PLAIN.fullmatch(names[0]):
            return names[0]
    return None


def gold_accounts(table: str) -> dict[str, float]:
    """Parse the table of gbalance: the available credit by account.

    The columns are as wide as the dashes below their names; a name may contain blanks.
    """
    lines = table.split("\n")
    rule = next((i for i, line in enumerate(lines) if re.fullmatch(r"-+( +-+)+ *", line)), 0)
    if rule == 0:
        return {}
    spans = [match.span() for match in re.finditer("-+", lines[rule])]
    titles = [lines[rule - 1][start:end].strip().rstrip("?") for start, end in spans]
    found: dict[str, float] = {}
    for line in lines[rule + 1 :]:
        row = dict(zip(titles, (line[start:end].strip() for start, end in spans), strict=True))
        if row.get("Name"):
            credit = row.get("Available", row.get("Balance", "")).replace(",", "")
            known = re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", credit)
            found[row["Name"]] = found.get(row["Name"], 0.0) + (float(credit) if known else 0.0)
    return found
