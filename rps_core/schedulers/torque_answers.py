"""What the commands of Torque and its relatives print, read without asking anything.

Two forms of `qstat` are read, XML (`-x`, Torque alone) and the long text (`-f`, everybody: Torque, PBS,
and the wrappers of that name that come with Slurm), both into `Attributes`: a job's attributes by
name, those inside others with a dot (`Resource_List.walltime`), the id as `Job_Id`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

Attributes: TypeAlias = Mapping[str, str]

# 123, 123.server, 123.server.domain, and with [] or [4] those of arrays. PBS counts to 12 digits at most.
_ID = re.compile(r"([0-9]{1,15}(?:\[[0-9]{0,15}\])?)(?:\.([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*))?")
_LONGEST_ID = 300  # characters: of a host's name 253
_TOKEN = re.compile(r"<(/?)([A-Za-z_][\w.-]*)>|([^<]+|<)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DENIED = re.compile(r"Unknown Job Id(?: Error)? (\S+)", re.IGNORECASE)


def is_id(text: str) -> bool:
    """Whether this can be a job's id. Anything else must not reach a command: `qstat ""` lists all
    jobs, and a word is taken for a queue or an option."""
    return len(text) <= _LONGEST_ID and _ID.fullmatch(text) is not None


def id_in(stdout: str) -> str | None:
    """The id that qsub printed: the last line that is one, as sites print banners before it."""
    lines = [line.strip() for line in stdout.split("\n")]
    return next((line for line in reversed(lines) if is_id(line)), None)


def same_job(one: str, other: str) -> bool:
    """Whether two ids mean one job: the numbers are equal, and so are the servers, as far as both
    tell them (`1.mgr` and `1` are `1.mgr.local`)."""
    first, second = _ID.fullmatch(one), _ID.fullmatch(other)
    if first is None or second is None or first[1] != second[1]:
        return False
    short, long = sorted((first[2] or "", second[2] or ""), key=len)
    return not short or long == short or long.startswith(f"{short}.")


def number(job_id: str) -> str:
    """The id without its server."""
    return job_id.partition(".")[0]


def denied(stderr: str) -> list[str]:
    """The ids that the server says it does not know, each by its name."""
    return _DENIED.findall(stderr)


def xml_jobs(text: str) -> list[Attributes]:
    """The jobs of `qstat -x`; one cut off in the middle is left out.

    Not read by an XML parser, for it is no XML: several ids give several documents in a row, and
    control characters or broken bytes of a job's environment go out raw.
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
    """The jobs of `qstat -f`, folded or not.

    A record begins with `Job Id:`, nothing else ends one: values hold newlines, and empty lines too.
    The first of two attributes of a name counts: the second is a line within some value.
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
    """The lines of a `tracejob` that tell of a job's fate: requests, its run, its end."""
    telling = re.compile(r"at request of|Job Run|Exit_status=|job was terminated|walltime|deleted")
    lines = (line.strip() for line in stdout.split("\n"))
    # Those of accounting repeat what the others say, at length.
    return [line for line in lines if telling.search(line) and not re.search(r"\d  A ", line)]


def owner(job: Attributes) -> str:
    """The login name of a job's owner, without the host that it was submitted from."""
    return job.get("Job_Owner", "").partition("@")[0]


def matching(job_id: str, jobs: Iterable[Attributes]) -> list[Attributes]:
    """The jobs of this id among those of an answer, which may hold others: one, or none."""
    return [job for job in jobs if same_job(job_id, job.get("Job_Id", ""))]


def complaint(stdout: str, stderr: str) -> str:
    """The one line that says what went wrong: the commands print usage texts and repeat themselves."""
    lines = [line.strip(" []'\t\r") for line in [*stderr.split("\n"), *stdout.split("\n")]]
    return next(_telling(lines), "") or next((line for line in lines if line), "")


def _telling(lines: list[str]) -> Iterator[str]:
    for line in lines:
        # Slurm's wrapper quotes sbatch, over several lines and indented.
        match = re.fullmatch(
            r"(?:qsub|qstat|qdel|sbatch): (?:error: )?(?:submit error )?(.*\S.*)", line
        )
        if match and not match[1].startswith("invalid option"):
            inner = re.fullmatch(r"\((.*)\)", match[1])
            yield inner[1].strip() if inner else match[1].strip()
