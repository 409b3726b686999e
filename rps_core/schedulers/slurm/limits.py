"""The limits of a QoS or an account, as the names of Slurm's reasons spell them.

`QOSMaxCpuPerUserLimit`, `AssocGrpCPUMinutesLimit`, `MaxMemoryPerAccount`, `QOSMinGRES`: so are most of the
reasons in src/common/job_state_reason.c (25.11). squeue shows them of a job that waits, and sbatch prints
them above "Job violates accounting/QOS policy".
"""

from __future__ import annotations

import re

_NAME = (
    r"(?P<whose>QOS|Assoc)?(?P<kind>Grp|Max|Min)"
    r"(?P<what>Cpu|CPU|Memory|Mem|Node|GRES|SubmitJobs?|Jobs?|WallDuration|Wall|Energy|License|BB|Billing|Unknown)"
    r"(?P<time>RunMinutes|RunMins|Minutes)?(?P<per>Per(?:Job|Node|User|Account))?(?:Limit|NotSatisfied)?"
)
_WHAT = {
    "cpu": ("cores", "-c"),
    "mem": ("memory", "-m"),
    "memory": ("memory", "-m"),
    "node": ("nodes", "job.nodes"),
    "gres": ("GPUs or other resources", "-g"),
    "wall": ("walltime", "-t"),
    "wallduration": ("walltime", "-t"),
    "energy": ("energy", ""),
    "license": ("licenses", ""),
    "bb": ("burst buffer", ""),
    "billing": ("billing units", "-c, -m, -g"),
    "unknown": ("a resource", ""),
}
_OWNERS = {
    "QOS": ("its QoS", "another QoS (--qos)"),
    "Assoc": ("its account", "another account (-A)"),
    None: ("its QoS", "another QoS (--qos)"),
}


class Limit:
    """A limit that a job meets, from the match of its reason's name with `_NAME`.

    Attributes:
        is_endless: the job never starts, whatever else ends.
        text: the limit, in plain words.
        advice: what the user can do.
    """

    def __init__(self, found: re.Match[str]) -> None:
        whose, other = _OWNERS[found["whose"]]
        kind, per, minutes = found["kind"], found["per"], found["time"]
        word = found["what"].lower()
        jobs = word.startswith(("job", "submitjob"))
        what, option = _WHAT.get(word, ("jobs", ""))
        given = _in_brackets(option)
        of_one = per in ("PerJob", "PerNode") or word == "wallduration"
        self.is_endless = kind == "Min" or (kind == "Max" and of_one)
        if kind == "Min":
            self.text = f"it requests less {what} than {whose} takes"
            self.advice = f"Request more {what}{given}, or use {other}."
        elif self.is_endless:
            amount = f"time on {what}" if minutes else what
            where = "on a node" if per == "PerNode" else "for a job"
            self.text = f"it requests more {amount} than {whose} allows {where}"
            given = _in_brackets(option, "-t" if minutes else "")
            self.advice = f"Request less {amount}{given}, or use {other}."
        elif jobs:
            state = "submitted" if word.startswith("submit") else "running"
            if per == "PerAccount":
                who = "all users of its account have"
            elif kind == "Max":
                who = "you have"
            else:
                who = f"all users of {whose} have"
            self.text = f"{who} as many {state} jobs as {whose} allows"
            self.advice = (
                "Wait until one of them ends, end one of yours (`rps list`, `rps stop`), or use "
                f"{other}."
            )
        elif minutes == "Minutes" or (kind == "Grp" and word == "wall"):
            amount = "walltime" if word == "wall" else f"time on {what}"
            self.text = f"the {amount} that {whose} has is used up"
            self.advice = f"Use {other}, or ask the cluster's support for more."
        else:
            amount = f"time on {what}" if minutes else what
            holders = {"PerUser": "your jobs hold", "PerAccount": "the jobs of its account hold"}
            who = holders.get(per or "", f"the jobs of {whose} hold")
            self.text = f"{who} as much {amount} as {whose} allows"
            self.advice = f"Wait until some of them end, request less{given}, or use {other}."


def limit(name: str) -> Limit | None:
    """Return the limit that a reason names; None: it names none."""
    found = re.fullmatch(_NAME, name)
    return None if found is None else Limit(found)


def _in_brackets(*options: str) -> str:
    """Return ` (-c, -t)`, each option once; empty: there are none."""
    listed = ", ".join(dict.fromkeys(option for option in options if option))
    return f" ({listed})" if listed else ""
