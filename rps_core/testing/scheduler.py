"""What holds of every scheduler."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rps_core import planning
from rps_core.errors import RpsError, SchedulerError, UsageError
from rps_core.models import (
    Allocation,
    Cluster,
    Gone,
    Job,
    JobStatus,
    Known,
    SessionSpec,
    Submission,
    Unknown,
)
from rps_core.plugins import Plugins, Site
from rps_core.testing.hostile import HOSTILE
from rps_core.testing.recorded import MISSING, TIMEOUT, Answer, Reply, every_command


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
