"""Contract tests: what every site and every scheduler must hold, for whoever writes one.

    # test_expanse.py, run by pytest
    from rps_core.testing import SiteContract

    class TestExpanse(SiteContract):
        cluster = "expanse"
        login_hosts = ("login01", "login02")
        other_hosts = ("login", "login01b", "exp-1-01")

A contract is a class to inherit from. It holds class attributes that say what is to be tested, and
tests that use them; a contract that needs more than its attributes can say has methods to override.
The plugin is found as rps finds it, by its entry point, so it must be installed (`pip install -e .`).

`RecordedShell` stands in for the scheduler: it replays what a real one was seen to answer, and fails
on a command that it does not know. pytest is needed where contracts run, and not imported here; put
`pytest.register_assert_rewrite("rps_core.testing")` into your conftest.py to see why one fails.
"""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from rps_core import planning, settings
from rps_core.cluster import Here
from rps_core.errors import RpsError, SchedulerError, UsageError
from rps_core.models import (
    Allocation,
    Cluster,
    Gone,
    Host,
    Job,
    JobStatus,
    Known,
    SessionSpec,
    Submission,
    Unknown,
)
from rps_core.plugins import GROUP, Plugins, Site
from rps_core.quantities import format_walltime, parse_memory, parse_walltime
from rps_core.shell import Finished

__all__ = [
    "HOSTILE",
    "MISSING",
    "TIMEOUT",
    "Answer",
    "RecordedShell",
    "Replies",
    "Reply",
    "SchedulerContract",
    "SiteContract",
    "every_command",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int = 0
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    what: str


TIMEOUT = _NoAnswer("did not answer within 30 s")
MISSING = _NoAnswer("is not on the PATH of this host")

Reply: TypeAlias = Answer | _NoAnswer
Replies: TypeAlias = Reply | Sequence[Reply]

# Values that must not reach a shell as code, nor make a directive of their own.
HOSTILE = (
    "two words",
    "it's",
    'a "quoted" one',
    "a,b=c",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "a;touch pwned",
    "a&b|c>d<e",
    "a\n#PBS -q other",
    "a\r#SBATCH --qos=other",
    "a\x00b",
    "a\x1b[31m",
    "-lwalltime=1",
    "--wrap=touch pwned",
    "été",
    "#comment",
    "a\\",
    "*",
    "~root",
    "%j",
    "",
    " ",
)


class RecordedShell:
    """A `Shell` that replays recorded answers, and fails on any command it has none for.

    `answers` maps a command, as one types it (`"qstat -x 12"`) or as a tuple of arguments, to its
    answer; a sequence of answers is given one after the other, the last one for good. `TIMEOUT` and
    `MISSING` are answers too: the program hangs, or is not there. A key that is a program's name and
    nothing else, `"qstat"`, answers only that program without arguments; `every_command` answers all.

    `calls` holds the argument lists in the order they came, `inputs` what each was given on stdin.
    """

    def __init__(
        self, answers: Mapping[str | tuple[str, ...], Replies], default: Reply | None = None
    ) -> None:
        self._answers: dict[tuple[str, ...], list[Reply]] = {}
        for command, replies in answers.items():
            argv = tuple(shlex.split(command)) if isinstance(command, str) else command
            self._answers[argv] = list(replies) if isinstance(replies, Sequence) else [replies]
        self._default = default
        self.calls: list[tuple[str, ...]] = []
        self.inputs: list[str] = []

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Answer as recorded; `timeout` counts for nothing here."""
        del timeout
        self.calls.append(argv)
        self.inputs.append(stdin)
        replies = self._answers.get(argv)
        if replies is None and self._default is None:
            known = "\n  ".join(shlex.join(command) for command in self._answers) or "(nothing)"
            raise AssertionError(
                f"no answer is recorded for\n  {shlex.join(argv)}\nbut for\n  {known}"
            )
        reply = self._default if replies is None else replies[0]
        if replies is not None and len(replies) > 1:
            replies.pop(0)
        if isinstance(reply, Answer):
            return Finished(argv, reply.code, reply.stdout, reply.stderr)
        assert reply is not None
        raise SchedulerError(f"`{argv[0]}` {reply.what}", transient=reply is TIMEOUT)


def every_command(reply: Reply) -> RecordedShell:
    """A shell that gives the same answer to whatever it is asked."""
    return RecordedShell({}, default=reply)


class SiteContract:
    """What holds of every site. Inherit, and say in class attributes what is yours.

    `cluster`: the name of the cluster. `login_hosts`: host names, as `hostname -s` prints them, that
    the site must claim. `other_hosts`: its compute nodes, its neighbours' login nodes and whatever
    else looks alike; none may be claimed. `commands`: the scheduler's commands on a login host.
    `detection`: answers, where the site runs a command to tell clusters apart.
    """

    cluster: str
    login_hosts: tuple[str, ...]
    other_hosts: tuple[str, ...] = ()
    commands: tuple[str, ...] = ("sbatch",)
    detection: Mapping[str | tuple[str, ...], Replies] = {}

    def plugins(self) -> Plugins:
        """All that is installed, with the answers of `detection` for a shell.

        `generic` asks `qstat` whose it is, where no site claims a host that has it.
        """
        answers = {"qstat --version": Answer(stdout="Version: 6.1.3\n"), **self.detection}
        return Plugins(list(entry_points(group=GROUP)), shell=RecordedShell(answers))

    def host(self, hostname: str) -> Host:
        """A host of this name with the scheduler's commands."""
        return Host(
            hostname=hostname,
            fqdn=hostname,
            commands={name: f"/usr/bin/{name}" for name in self.commands},
        )

    def here(self, options: Mapping[str, object] | None = None) -> Here:
        """The cluster with its configuration, as on a login host without any configuration files.

        An account is named, so that no scheduler need be asked for the default.
        """
        plugins = self.plugins()
        found = next(c for c in plugins.clusters() if c.name == self.cluster)
        site = plugins.site(found)
        loaded = settings.load(
            found.name,
            site.scheduler_config(),
            site.site_config(),
            environment={},
            given=settings.Given(options={"job.account": "abc123", **(options or {})}),
        )
        return Here(site, (), loaded)

    def test_the_site_serves_its_cluster(self) -> None:
        """Once, and with a scheduler that is there."""
        plugins = self.plugins()
        assert plugins.broken == []
        served = [found for found in plugins.clusters() if found.name == self.cluster]
        assert len(served) == 1
        assert plugins.site(served[0]).cluster == served[0]

    def test_each_login_host_is_claimed_with_reasons(self) -> None:
        """By this site alone."""
        assert self.login_hosts
        for hostname in self.login_hosts:
            plugins = self.plugins()
            detection = plugins.detect(self.host(hostname))
            assert plugins.broken == []
            assert detection.cluster.name == self.cluster, hostname
            assert detection.reasons
            assert all(detection.reasons)

    def test_no_other_host_is_claimed(self) -> None:
        """Neither neighbours, nor names that only begin or end like one of ours."""
        alike = {"", "localhost", *self.other_hosts}
        for name in self.login_hosts:
            alike |= {f"x{name}", f"{name}x", f"{name}.evil", f"{name}\n", name.upper()}
            alike |= {name.rstrip("0123456789")} - {name}
        for hostname in sorted(alike):
            plugins = self.plugins()
            claims = plugins.detect(self.host(hostname), wanted=self.cluster).claims
            usable = {claim.cluster.name for claim in claims if claim.unusable is None}
            assert self.cluster not in usable, hostname
            assert plugins.broken == []

    def test_the_configuration_is_valid_and_complete(self) -> None:
        """The merged layers have a service, a partition that has limits, and limits that can be read."""
        loaded = self.here().loaded.settings
        assert loaded.proxy.own or loaded.proxy.domain
        assert parse_walltime(loaded.job.walltime)
        if loaded.limits.walltime:
            assert parse_walltime(loaded.limits.walltime)
        for limits in loaded.limits.partitions.values():
            assert limits.walltime is None or parse_walltime(limits.walltime)
            assert limits.memory is None or parse_memory(limits.memory)
        if loaded.limits.partitions:
            assert loaded.job.partition in loaded.limits.partitions

    def test_a_dry_run_shows_a_batch_script(self, tmp_path: Path) -> None:
        """For each application, without a question to the scheduler."""
        for app in planning.APPS:
            here = self.here({"notebook.app": app, "notebook.directory": str(tmp_path)})
            script = _rendered(here, tmp_path / "session")
            assert script.startswith("#!")
            assert f"\nRPS_SESSION={shlex.quote(str(tmp_path / 'session'))}\n" in script
            assert script.rstrip().endswith(f'run-agent.sh" --app {app}')

    def test_what_is_above_a_limit_is_refused(self, tmp_path: Path) -> None:
        """Each limit of each partition: the most is taken, more is not."""
        for partition, most in self.here().loaded.settings.limits.partitions.items():
            for key, allowed, above in _at_the_limit(most):
                base: dict[str, object] = {
                    "job.partition": partition,
                    "job.walltime": "1",
                    "notebook.directory": str(tmp_path),
                }
                if allowed is not None:
                    _plan(self.here({**base, key: allowed}))
                assert _is_refused(self.here({**base, key: above})), f"{partition}: {key}={above}"


class SchedulerContract:
    """What holds of every scheduler. Inherit, and say in class attributes what is yours.

    `scheduler`: its name, as in a `Cluster`. `job_id`: an id as the scheduler gives it. `refused`: an
    answer of its submitting command that refuses a job. `prompt`: how its directives begin.
    """

    scheduler: str
    job_id: str
    refused: Answer
    prompt: str

    def site(self) -> Site:
        """The scheduler alone, with no site to answer in its place."""
        cluster = Cluster(name="contract", site="no-such-site", scheduler=self.scheduler)
        return Plugins.load().site(cluster)

    def spec(self, session_dir: Path, **asked: object) -> SessionSpec:
        """A session that asks for `asked` (fields of `Allocation`)."""
        wanted: dict[str, object] = {"walltime": timedelta(hours=1), **asked}
        return SessionSpec(
            name="one-two-three",
            tag="rps:one-two-three:0a0b0c0d",
            app="lab",
            template=planning.find_template(f"{self.scheduler}/jupyterlab.sh", self.scheduler),
            session_dir=session_dir,
            directory=session_dir,
            allocation=Allocation(**wanted),  # type: ignore[arg-type]
        )

    def job(self, session_dir: Path) -> Job:
        """A job of which nothing but its id is known."""
        return Job(id=self.job_id, tag="rps:one-two-three:0a0b0c0d", session_dir=session_dir)

    def test_directives_stand_on_top(self, tmp_path: Path) -> None:
        """Right below the first line, and nowhere else."""
        lines = self.site().render_batch(self.spec(tmp_path, account="abc123")).splitlines()
        assert lines[0].startswith("#!")
        directed = [line.startswith(self.prompt) for line in lines]
        assert directed[1]
        assert sum(directed) == directed[1:].index(False)
        assert any("abc123" in line for line in lines[1 : sum(directed) + 1])

    def test_hostile_values_stay_one_directive_or_are_refused(self, tmp_path: Path) -> None:
        """Where they are taken the script has one line for them, and no other line changes."""
        render = self.site().render_batch
        for field in ("account", "partition", "qos", "reservation", "constraint"):
            for value in HOSTILE:
                try:
                    lines = render(self.spec(tmp_path, **{field: value})).splitlines()
                    plain = render(self.spec(tmp_path, **{field: "plain"})).splitlines()
                except UsageError:
                    continue
                assert len(lines) == len(plain)
                changed = [a for a, b in zip(lines, plain, strict=True) if a != b]
                assert len(changed) <= 1
                assert all(line.startswith(self.prompt) for line in changed)

    def test_a_refusal_is_told_in_the_schedulers_words(self, tmp_path: Path) -> None:
        """As an error that is not transient, without a traceback's worth of noise."""
        error = self._error_of_submitting(tmp_path, self.refused)
        assert error is not None
        assert not error.transient
        said = f"{self.refused.stdout} {self.refused.stderr}".split()
        assert any(word in said for word in str(error).split() if len(word) > 4)

    def test_a_submission_that_does_not_answer_is_an_error(self, tmp_path: Path) -> None:
        """Transient, as nobody knows whether the job is there; with no program it is not."""
        hung = self._error_of_submitting(tmp_path, TIMEOUT)
        assert hung is not None
        assert hung.transient
        missing = self._error_of_submitting(tmp_path, MISSING)
        assert missing is not None
        assert not missing.transient

    def test_success_without_an_id_is_an_error(self, tmp_path: Path) -> None:
        """A job without an id could neither be shown nor ended."""
        for text in ("", "\n", "Welcome!\n", "\x00\x01\n"):
            assert self._error_of_submitting(tmp_path, Answer(0, text, "")) is not None, text

    def test_a_job_is_submitted_under_the_name_that_it_is_known_by(self, tmp_path: Path) -> None:
        """In what is run or in the script; two sessions have not the same. Where there is no such name, `rps
        proxy feed` is not served."""
        site, spec = self.site(), self.spec(tmp_path)
        try:
            name = site.job_name(spec.name)
        except RpsError:
            return
        assert name != site.job_name(f"{spec.name}-")
        shell = every_command(self.refused)
        script = tmp_path / "batch.sh"
        script.write_text(site.render_batch(spec))
        with contextlib.suppress(SchedulerError):
            site.submit(spec, script, shell)
        words = [word for call in shell.calls for word in call]
        assert any(name in word for word in (*words, script.read_text()))

    def test_silence_is_unknown(self, tmp_path: Path) -> None:
        """Whatever goes wrong with the question, nothing is concluded about the job."""
        for reply in (
            TIMEOUT,
            MISSING,
            Answer(1, "", "cannot connect to server: Connection refused\n"),
            Answer(255, "", ""),
            Answer(0, "Welcome to the cluster!\nMaintenance on Monday.\n", ""),
            Answer(0, '<?xml version="1.0"?><Data><Job><Job_Id>', ""),
            Answer(0, '{"Jobs": {"', ""),
            Answer(0, "\x00\x1f\x1e|||\n", ""),
        ):
            status = self._status(tmp_path, reply)
            assert isinstance(status, Unknown), reply
            assert status.reason

    def test_polling_answers_for_every_job_and_for_no_other(self, tmp_path: Path) -> None:
        """No jobs, no question; ids that cannot be the scheduler's own are Unknown."""
        site = self.site()
        shell = every_command(TIMEOUT)
        assert dict(site.poll([], shell)) == {}
        assert shell.calls == []
        odd = [
            dataclasses.replace(self.job(tmp_path), id=job_id)
            for job_id in ("", "all", "-a", "$(id)", f"{self.job_id} 1")
        ]
        try:
            answers = site.poll(odd, every_command(Answer(0, "", "")))
        except SchedulerError:
            return  # sessions.poll makes it Unknown for each
        for job in odd:
            assert not isinstance(answers.get(job.id), Known | Gone), job.id

    def test_of_a_submission_nobody_answers_for_nothing_is_concluded(self, tmp_path: Path) -> None:
        """That a job is not found is the end of its session: silence must not look like it."""
        submission = Submission(
            name="one-two-three",
            tag="rps:one-two-three:0a0b0c0d",
            session_dir=tmp_path,
            since=datetime.now(UTC),
        )
        for reply in (TIMEOUT, MISSING, Answer(1, "", "cannot connect to server\n")):
            try:
                found = self.site().find_jobs([submission], every_command(reply))
            except SchedulerError:
                continue
            assert found is None, reply  # a plugin that does not look for jobs

    def test_the_doctors_questions_can_be_asked(self) -> None:
        """Argument lists with a program each; one that is not needed says what is missed without it."""
        for question in self.site().questions() or ():
            assert question.argv
            assert all(question.argv)
            assert question.needed or question.without

    def test_jobs_are_listed_only_on_the_schedulers_word(self) -> None:
        """None may look like a job of ours that is not one, and silence not like an empty list."""
        for reply in (TIMEOUT, Answer(1, "", "cannot connect to server\n")):
            try:
                found = self.site().tagged_jobs(every_command(reply))
            except SchedulerError:
                continue
            assert found is None, reply

    def test_what_cannot_be_cancelled_is_an_error(self, tmp_path: Path) -> None:
        """Else a session would be called over whose job goes on."""
        for reply in (TIMEOUT, MISSING, Answer(1, "", "cannot connect to server\n")):
            try:
                answer = self.site().cancel(self.job(tmp_path), every_command(reply))
            except SchedulerError:
                continue
            raise AssertionError(f"{reply} was taken for {answer}")

    def _error_of_submitting(self, tmp_path: Path, reply: Reply) -> SchedulerError | None:
        script = tmp_path / "batch.sh"
        spec = self.spec(tmp_path)
        script.write_text(self.site().render_batch(spec))
        try:
            self.site().submit(spec, script, every_command(reply))
        except SchedulerError as error:
            return error
        return None

    def _status(self, tmp_path: Path, reply: Reply) -> JobStatus | None:
        job = self.job(tmp_path)
        try:
            return self.site().poll([job], every_command(reply)).get(job.id)
        except SchedulerError as error:  # what sessions.poll does of it
            return Unknown(reason=error.message)


def _plan(here: Here) -> planning.Plan:
    return planning.plan(here, every_command(MISSING), dry_run=True)


def _is_refused(here: Here) -> bool:
    try:
        _plan(here)
    except UsageError as error:
        return bool(error.message)
    return False


def _rendered(here: Here, session_dir: Path) -> str:
    plan = _plan(here)
    spec = SessionSpec(
        name="one-two-three",
        tag="rps:one-two-three:0a0b0c0d",
        app=plan.app,
        template=plan.template,
        session_dir=session_dir,
        directory=plan.directory,
        allocation=plan.allocation,
        gpu_directive=here.loaded.settings.scheduler.gpu_directive,
        warn_before=here.loaded.settings.scheduler.warn_before,
    )
    return here.site.render_batch(spec)


def _at_the_limit(most: settings.PartitionLimits) -> list[tuple[str, object, object]]:
    """For each limit the key, the most that is allowed (None: nothing is) and what is above it."""
    found: list[tuple[str, object, object]] = []
    if most.walltime is not None:
        longest = parse_walltime(most.walltime)
        above = format_walltime(longest + timedelta(minutes=1))
        found.append(("job.walltime", format_walltime(longest), above))
    if most.cpus is not None:
        found.append(("job.cpus", most.cpus or None, most.cpus + 1))
    if most.gpus is not None:
        found.append(("job.gpus", most.gpus or None, most.gpus + 1))
    if most.memory is not None:
        found.append(("job.memory", most.memory, f"{parse_memory(most.memory) + 1}M"))
    return found
