"""Parse the output of Torque's and PBS's commands, and of Slurm's wrappers.

`qstat` prints XML (`-x`, Torque only) or long text (`-f`, all three). Both become `Attributes`: a job's
attributes by name, nested ones with a dot (`Resource_List.walltime`), the id as `Job_Id`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

Attributes: TypeAlias = Mapping[str, str]

# 123, 123.server, 123.server.domain; of arrays with [] or [4]. PBS uses 12 digits at most.
_ID = re.compile(r"([0-9]{1,15}(?:\[[0-9]{0,15}\])?)(?:\.([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*))?")
_LONGEST_ID = 300  # characters: a host name has 253 at most
_TOKEN = re.compile(r"<(/?)([A-Za-z_][\w.-]*)>|([^<]+|<)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FINISHED = re.compile(r"qstat: (\S+) Job has finished", re.IGNORECASE)
_DENIED = re.compile(r"Unknown Job Id(?: Error)? (\S+)", re.IGNORECASE)


def is_id(text: str) -> bool:
    """Return whether a text can be a job's id.

    Nothing else may reach a command: `qstat ""` lists all jobs, and qstat takes a word for a queue or an
    option.
    """
    return len(text) <= _LONGEST_ID and _ID.fullmatch(text) is not None


def submitted_ids(stdout: str) -> list[str]:
    """Return the ids in the output of qsub, which a site's filter or wrapper adds to.

    Torque's and PBS's have a server's name, and a number alone is none if there is one with it. Several: only
    the queue knows which is the job's.
    """
    found = ids_in(stdout)
    return list(dict.fromkeys([one for one in found if "." in one] or found))


def ids_in(stdout: str) -> list[str]:
    """Return the ids in some output, each alone on its line."""
    return [line.strip() for line in stdout.split("\n") if is_id(line.strip())]


def same_job(one: str, other: str) -> bool:
    """Return whether two ids are of one job.

    The numbers are equal, and the servers as far as both ids have them (`1.mgr` and `1` are `1.mgr.local`).
    """
    first, second = _ID.fullmatch(one), _ID.fullmatch(other)
    if first is None or second is None or first[1] != second[1]:
        return False
    short, long = sorted((first[2] or "", second[2] or ""), key=len)
    return not short or long == short or long.startswith(f"{short}.")


def number(job_id: str) -> str:
    """Return the id without its server."""
    return job_id.partition(".")[0]


def denied(stderr: str) -> list[str]:
    """Return the ids that the server reports as unknown."""
    return _DENIED.findall(stderr)


def finished(stderr: str) -> list[str]:
    """Return the ids of jobs that PBS has in its history alone (src/cmds/qstat.c, PBSE_HISTJOBID)."""
    return _FINISHED.findall(stderr)


def xml_jobs(text: str) -> list[Attributes]:
    """Parse the jobs of `qstat -x`, without one that was cut off.

    The output is not well-formed XML: for several ids there are several documents, and control characters or
    invalid bytes of a job's environment are not escaped. So no XML parser reads it.
    """
    return [
        _xml_attributes(document) for document in re.findall(r"<Job>(.*?)</Job>", text, re.DOTALL)
    ]


def _xml_attributes(document: str) -> Attributes:
    found: dict[str, str] = {}
    path: list[str] = []
    for closing, name, value in _TOKEN.findall(_CONTROL.sub("", document)):
        if closing:
            if name in path:
                del path[path.index(name) :]
        elif name:
            path.append(name)
        elif path:
            found.setdefault(".".join(path), html.unescape(value))
    return found


def text_jobs(text: str) -> list[Attributes]:
    """Parse the jobs of `qstat -f`, folded or not.

    A record begins with `Job Id:`, and only that ends the previous one: values contain newlines and empty
    lines. Of two attributes of one name the first counts: the second is a line of a value.
    """
    jobs: list[dict[str, str]] = []
    indent = "    "
    last = ""
    for line in text.split("\n"):
        header = re.fullmatch(r"Job Id:(\s*)(\S+)\s*", line)
        if header:
            jobs.append({"Job_Id": header[2]})
            # Slurm's wrapper has a tab after the colon, and before each attribute.
            indent = "\t" if header[1] == "\t" else "    "
            last = ""
            continue
        if not jobs:
            continue  # a banner
        attribute = re.fullmatch(rf"{indent}([A-Za-z_][\w.]*) = (.*)", line)
        if attribute:
            last = attribute[1] if attribute[1] not in jobs[-1] else ""
            jobs[-1].setdefault(attribute[1], attribute[2])
        elif line.startswith("\t") and last:
            jobs[-1][last] += line[1:]
    return list(jobs)


def traced(stdout: str) -> list[str]:
    """Return the lines of `tracejob` about a job's requests, its start and its end."""
    relevant = re.compile(r"at request of|Job Run|Exit_status=|job was terminated|walltime|deleted")
    lines = (line.strip() for line in stdout.split("\n"))
    # The lines of accounting repeat the others, at length.
    return [line for line in lines if relevant.search(line) and not re.search(r"\d  A ", line)]


def owner(job: Attributes) -> str:
    """Return the login name of a job's owner, without the submit host."""
    return job.get("Job_Owner", "").partition("@")[0]


def matching(job_id: str, jobs: Iterable[Attributes]) -> list[Attributes]:
    """Return the jobs of this id, one or none, from an answer that may contain others."""
    return [job for job in jobs if same_job(job_id, job.get("Job_Id", ""))]


def complaint(stdout: str, stderr: str) -> str:
    """Return a failed command's message in one line.

    Usage texts and repetitions are left out.
    """
    lines = [line.strip(" []'\t\r") for line in [*stderr.split("\n"), *stdout.split("\n")]]
    return next(_messages(lines), "") or next((line for line in lines if line), "")


def _messages(lines: list[str]) -> Iterator[str]:
    for line in lines:
        # Slurm's wrapper quotes sbatch, over several lines and indented.
        match = re.fullmatch(
            r"(?:qsub|qstat|qdel|sbatch): (?:error: )?(?:submit error )?(.*\S.*)", line
        )
        if match and not match[1].startswith("invalid option"):
            inner = re.fullmatch(r"\((.*)\)", match[1])
            yield inner[1].strip() if inner else match[1].strip()
