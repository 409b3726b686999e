"""The contract of every scheduler."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from rps_core.errors import AnotherJobError, PluginError, RpsError, SchedulerError, UsageError
from rps_core.hooks.faults import Broken
from rps_core.hooks.manager import Plugins
from rps_core.hooks.site import Site
from rps_core.jobs import Gone, Job, JobStatus, Known, Submission, Unknown
from rps_core.launch import plan as planning
from rps_core.models import Allocation, Cluster, SessionSpec
from rps_core.protocol import Cause
from rps_core.testing.hostile import HOSTILE
from rps_core.testing.mistakes import fail
from rps_core.testing.recorded import MISSING, TIMEOUT, Answer, Reply, by_program, every_command


class SchedulerContract:
    """Tests of a scheduler. Inherit, and describe yours in the class attributes.

    `scheduler`: its name, as in a `Cluster`. `job_id`: an id in the scheduler's form. `refused`: output of
    its submit command that refuses a job. `prompt`: the prefix of its directives. `another_job`: output of
    the commands that list jobs if `job_id` is another job's, by program. `canceller`: the program that
    cancels a job; None: it compares name and owner itself, as `another_job` has its answer.
    """

    scheduler: str
    job_id: str
    refused: Answer
    prompt: str
    another_job: ClassVar[Mapping[str, Answer]]
    canceller: str | None

    def site(self) -> Site:
        """Return the scheduler alone, without a site's plugin."""
        cluster = Cluster(name="contract", site="no-such-site", scheduler=self.scheduler)
        return self.plugins().site(cluster)

    def plugins(self) -> Plugins:
        """Load every installed plugin.

        A mistake that rps finds in the scheduler's plugin, then or later, fails the test.
        """

        def report(broken: Broken) -> None:
            if broken.plugin == f"scheduler.{self.scheduler}":
                fail(broken)

        return Plugins.load(report)

    def spec(self, session_dir: Path, **asked: object) -> SessionSpec:
        """Return a session that requests `asked` (fields of `Allocation`)."""
        wanted: dict[str, object] = {"walltime": timedelta(hours=1), **asked}
        return SessionSpec(
            name="one-two-three",
            tag="rps:one-two-three:0a0b0c0d",
            app="lab",
            template=planning.templates(self.site()) / planning.APPS["lab"],
            session_dir=session_dir,
            directory=session_dir,
            allocation=Allocation(**wanted),  # type: ignore[arg-type]
        )

    def job(self, session_dir: Path) -> Job:
        """Return the job of `spec`, without files."""
        name = ""
        with contextlib.suppress(PluginError):  # it has no names
            name = self.site().job_name("one-two-three")
        return Job(
            id=self.job_id, tag="rps:one-two-three:0a0b0c0d", session_dir=session_dir, name=name
        )

    def test_the_interface_is_declared(self) -> None:
        """`RPS_INTERFACE` says which version of the plugin interface it was written for."""
        plugins = self.plugins()
        plugins.load_schedulers()
        assert plugins.declares_interface(f"scheduler.{self.scheduler}")

    def test_directives_stand_on_top(self, tmp_path: Path) -> None:
        """Directly below the first line, and nowhere else."""
        lines = self.site().render_batch(self.spec(tmp_path, account="abc123")).splitlines()
        assert lines[0].startswith("#!")
        directed = [line.startswith(self.prompt) for line in lines]
        assert directed[1]
        assert sum(directed) == directed[1:].index(False)
        assert any("abc123" in line for line in lines[1 : sum(directed) + 1])

    def test_hostile_values_stay_one_directive_or_are_refused(self, tmp_path: Path) -> None:
        """An accepted value changes one line of the script."""
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

    def test_a_refusal_has_the_schedulers_words(self, tmp_path: Path) -> None:
        """As an error that is not transient."""
        error = self._error_of_submitting(tmp_path, self.refused)
        assert error is not None
        assert not error.transient
        said = f"{self.refused.stdout} {self.refused.stderr}".split()
        assert any(word in said for word in str(error).split() if len(word) > 4)

    def test_a_submission_that_does_not_answer_is_an_error(self, tmp_path: Path) -> None:
        """Transient, as the job may have been submitted; not so if there is no program."""
        hung = self._error_of_submitting(tmp_path, TIMEOUT)
        assert hung is not None
        assert hung.transient
        missing = self._error_of_submitting(tmp_path, MISSING)
        assert missing is not None
        assert not missing.transient

    def test_success_without_an_id_is_an_error(self, tmp_path: Path) -> None:
        """A job without an id can be neither shown nor cancelled."""
        for text in ("", "\n", "Welcome!\n", "\x00\x01\n"):
            assert self._error_of_submitting(tmp_path, Answer(0, text, "")) is not None, text

    def test_a_job_is_submitted_under_the_name_that_it_is_known_by(self, tmp_path: Path) -> None:
        """The name is in the command or the script, and differs between sessions.

        `rps proxy feed` does not serve a scheduler without such names.
        """
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
        """No answer says nothing about the job."""
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
        """Without jobs no command is run; ids that the scheduler cannot have are Unknown."""
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

    def test_silence_about_a_submission_is_no_answer(self, tmp_path: Path) -> None:
        """A job that is not found ends its session, so no answer must not look like it."""
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

    def test_what_a_user_can_choose_are_words(self) -> None:
        """A partition or an account is one word, or it is left out.

        The commands print nonsense.
        """
        site = self.site()
        for reply in (
            TIMEOUT,
            MISSING,
            Answer(1, "", "cannot connect to server: Connection refused\n"),
            Answer(0, "", ""),
            Answer(0, "Welcome to the cluster!\nMaintenance on Monday.\n", ""),
            Answer(0, "\x00\x1f\x1e|||\n", ""),
            Answer(0, '{"Jobs": {"', ""),
        ):
            for ask in (site.default_allocation, site.partitions, site.allocations):
                with contextlib.suppress(SchedulerError):
                    ask(every_command(reply))

    def test_the_doctors_questions_can_be_asked(self) -> None:
        """Each has a program; one that is not needed says what is missing without it."""
        for question in self.site().health_checks() or ():
            assert question.argv
            assert all(question.argv)
            assert question.needed or question.without

    def test_jobs_are_listed_only_on_the_schedulers_word(self) -> None:
        """No answer is not an empty list."""
        for reply in (TIMEOUT, Answer(1, "", "cannot connect to server\n")):
            try:
                found = self.site().list_jobs(every_command(reply))
            except SchedulerError:
                continue
            assert found is None, reply

    def test_what_cannot_be_cancelled_is_an_error(self, tmp_path: Path) -> None:
        """Otherwise a session would end whose job continues."""
        for reply in (TIMEOUT, MISSING, Answer(1, "", "cannot connect to server\n")):
            try:
                answer = self.site().cancel(self.job(tmp_path), every_command(reply))
            except SchedulerError:
                continue
            raise AssertionError(f"{reply} was taken for {answer}")

    def test_another_job_with_the_id_is_not_the_sessions(self, tmp_path: Path) -> None:
        """A scheduler that lost its jobs begins the ids again: the other job is neither shown nor touched."""
        job, site = self.job(tmp_path), self.site()
        status = site.poll([job], by_program(self.another_job)).get(job.id)
        assert isinstance(status, Unknown), status
        assert status.cause == Cause.ID_REUSED
        shell = by_program(self.another_job)
        refusal: SchedulerError | None = None
        try:
            answer = site.cancel(job, shell)
        except AnotherJobError as error:
            refusal = error
        assert refusal is not None, f"rps_cancel returned {answer}"
        assert self.canceller not in {call[0] for call in shell.calls}
        for line in site.job_details(job, by_program(self.another_job)):
            assert job.id in line.line
            assert "another job" in line.line

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
