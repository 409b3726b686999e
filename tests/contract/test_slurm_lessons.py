"""Every edge case that is known of Slurm, and of schedulers in general where Slurm is concerned: the
test that covers it, or the code that makes it impossible here. The tests at the end keep this true.

Torque, PBS and what only they do with the general rules: `test_torque_lessons.py`.
"""

from __future__ import annotations

import pytest

from tests.contract.lessons import Cannot, Covered, check, said_twice

HOOKS = "contract/test_slurm.py"
ANSWERS = "contract/test_slurm_answers.py"
RENDERING = "contract/test_slurm_rendering.py"
SITES = "contract/test_sites.py"
CLUSTER_FAULTS = "cluster/test_faults.py"
CLUSTER_SITES = "cluster/test_sites.py"
S = "rps_core/schedulers"
SHELL = "rps_core/shell.py"

TABLE: list[tuple[str, Covered | Cannot]] = [
    # 4.1: rules for all schedulers
    (
        "known, gone or unknown: squeue does not answer",
        Covered(HOOKS, "test_a_squeue_that_does_not_answer_concludes_nothing"),
    ),
    (
        "known, gone or unknown: an id that is not there",
        Covered(HOOKS, "test_that_a_job_is_not_there_is_no_evidence"),
    ),
    (
        "errors are never counted until all jobs have failed",
        Cannot(
            f"{S}/slurm.py",
            "return {**found, **dict.fromkeys(ours, Sighting(status=queue))}",
            "nothing is counted: each poll starts from nothing, and an error is Unknown for each job",
        ),
    ),
    (
        "argument lists",
        Cannot(SHELL, "command(\n            *argv[1:]", "there is no shell in between"),
    ),
    ("the C locale", Cannot(SHELL, '"LC_ALL": "C"', "set for every command")),
    (
        "a time limit of its own",
        Cannot(SHELL, "threading.Timer(timeout, _end", "for every command"),
    ),
    (
        "stderr apart from stdout",
        Cannot(SHELL, "_text(running.stdout), _text(running.stderr)", "two fields"),
    ),
    (
        "names that are not UTF-8",
        Cannot(SHELL, 'decode("utf-8", "replace")', "decoded with replacement"),
    ),
    (
        "wrappers that print banners: sbatch",
        Covered(HOOKS, "test_a_banner_above_the_id_is_passed_over"),
    ),
    (
        "wrappers that print banners: squeue",
        Covered(HOOKS, "test_a_warning_beside_the_answer_changes_nothing"),
    ),
    ("wrappers that print banners: sacctmgr", Covered(HOOKS, "test_the_default_account")),
    ("one question for all sessions", Covered(HOOKS, "test_two_hundred_jobs_cost_one_call")),
    (
        "not more often than every 15 s",
        Cannot(f"{S}/slurm.yaml", "poll_interval: 15", "the layer of every Slurm cluster"),
    ),
    (
        "directives that a site refuses, defaults that nobody asked for",
        Covered(RENDERING, "test_nothing_is_asked_for_that_was_not_wanted"),
    ),
    (
        "memory is rounded up",
        Cannot("rps_core/quantities.py", "math.ceil", "to MiB, in which it is asked for"),
    ),
    ("2G, 2048M, 2g", Covered(SITES, "test_a_dry_run_of_each_option")),
    (
        "getlogin() without a terminal",
        Cannot(
            "rps_core/account.py", "pwd.getpwuid(os.getuid())", "by uid; getlogin is nowhere called"
        ),
    ),
    (
        "hosts as the scheduler spells them",
        Cannot(
            "rps_core/models.py",
            "node: str | None = None",
            "shown to the user, and used for nothing: the service takes the agent's own address",
        ),
    ),
    # 4.2: submission
    ("--parsable prints id or id;cluster", Covered(ANSWERS, "test_the_submitted_id")),
    ("text after the id", Covered(ANSWERS, "test_the_submitted_id")),
    (
        "sbatch fails although the job was accepted",
        Covered(HOOKS, "test_a_lost_submission_is_found_by_its_tag"),
    ),
    (
        "the same, with a real slurmctld that is stopped",
        Covered(CLUSTER_FAULTS, "test_the_controller_answers_late"),
    ),
    (
        "retried only after a look",
        Covered(HOOKS, "test_a_lost_submission_is_tried_again_once_it_is_certainly_not_there"),
    ),
    (
        "the look fails too",
        Covered(HOOKS, "test_what_cannot_be_found_out_is_said_and_not_tried_again"),
    ),
    (
        "sbatch succeeds in silence",
        Covered(HOOKS, "test_success_without_an_id_is_looked_up_and_never_tried_again"),
    ),
    (
        "retried only on errors that pass",
        Covered(HOOKS, "test_a_refusal_is_told_in_one_line_with_a_hint"),
    ),
    (
        "SBATCH_* and SLURM_* of the login shell",
        Cannot(SHELL, "_NOT_PASSED_ON = (", "no command gets them"),
    ),
    (
        "the same, on a real Slurm",
        Covered(CLUSTER_SITES, "test_variables_of_slurm_do_not_change_what_is_asked"),
    ),
    (
        "within an allocation",
        Cannot(SHELL, "_NOT_PASSED_ON = (", "SLURM_JOB_ID and the like are not passed on either"),
    ),
    (
        "only one --export counts",
        Covered(RENDERING, "test_a_directive_that_would_break_the_session_is_refused"),
    ),
    (
        "--export=NONE makes srun in the job export nothing",
        Cannot(
            "rps_core/batch/slurm/jupyterlab.sh",
            "unset SLURM_EXPORT_ENV",
            "the notebook's own steps get its environment",
        ),
    ),
    (
        "commas in exported values",
        Cannot(
            f"{S}/slurm_directives.py",
            'yield "--export=NONE"',
            "no value is exported: they travel in files of the session's directory",
        ),
    ),
    (
        "HH:MM:SS above 24 h",
        Cannot(
            "rps_core/quantities.py", "days, rest = divmod(seconds, 86400)", "written as D-HH:MM:SS"
        ),
    ),
    ("a walltime in each notation", Covered(SITES, "test_a_dry_run_of_each_option")),
    (
        "-M, and sacctmgr that has none",
        Covered(RENDERING, "test_a_directive_that_would_break_the_session_is_refused"),
    ),
    ("SLURM_CONF", Cannot(SHELL, 'name == "SLURM_CONF"', "the one variable that is passed on")),
    (
        "a requeued job redeems again",
        Cannot(
            f"{S}/slurm_directives.py",
            'yield "--no-requeue"',
            "and `--requeue` is refused; an administrator's requeue is the same job to the service",
        ),
    ),
    (
        "a user's own script with directives of its own",
        Cannot(
            f"{S}/slurm_commands.py",
            "--comment={spec.tag}",
            "the tag is an option, which beats a directive",
        ),
    ),
    (
        "values with quotes, blanks, #, $(), backslashes",
        Covered(RENDERING, "test_a_value_is_read_back_whole_or_refused"),
    ),
    ("% in the path of the output", Covered(RENDERING, "test_the_logs_path")),
    (
        "`#SBATCH hetjob` among the directives",
        Covered(RENDERING, "test_a_directive_that_would_break_the_session_is_refused"),
    ),
    ("munge is down", Covered(HOOKS, "test_what_was_never_sent_is_not_looked_up")),
    # 4.3: status
    (
        "exit code 0 and only stderr",
        Covered(HOOKS, "test_a_squeue_that_does_not_answer_concludes_nothing"),
    ),
    (
        "munge, connection refused, cannot contact, DNS",
        Covered(HOOKS, "test_a_squeue_that_does_not_answer_concludes_nothing"),
    ),
    (
        "an id that slurmctld has forgotten",
        Covered(HOOKS, "test_a_job_that_squeue_forgot_is_asked_of_accounting"),
    ),
    (
        "empty output and exit code 0 a while after the end",
        Covered(HOOKS, "test_that_a_job_is_not_there_is_no_evidence"),
    ),
    (
        "forgotten, and no accounting",
        Covered(HOOKS, "test_with_its_agents_word_a_forgotten_job_is_over"),
    ),
    (
        "forgotten, no accounting, and the agent was killed",
        Covered(HOOKS, "test_a_forgotten_job_does_not_outlive_its_walltime"),
    ),
    (
        "one forgotten id fails the whole list",
        Cannot(
            f"{S}/slurm_commands.py",
            '"squeue", f"--user={os.getuid()}", *_ALL, f"--format={format_}"',
            "squeue is given no ids",
        ),
    ),
    ("sacct absent, slow, off", Covered(HOOKS, "test_that_a_job_is_not_there_is_no_evidence")),
    (
        "sacct slow: it holds nobody up",
        Cannot(
            f"{S}/slurm.py",
            "ACCOUNTING_TIME = 15.0",
            "asked for the doubtful only, and not for long",
        ),
    ),
    (
        "sacct lags behind",
        Covered(ANSWERS, "test_a_job_that_only_accounting_believes_alive_is_unknown"),
    ),
    ("a first line CLUSTER: name", Covered(ANSWERS, "test_a_line_for_the_cluster_is_passed_over")),
    (
        "columns that are cut at 20 characters and run together",
        Cannot(
            f"{S}/slurm_answers.py",
            'UNIT = "\\x1f"',
            "no widths are given, and separators nobody types",
        ),
    ),
    (
        "blanks, |, and newlines in names and comments",
        Covered(ANSWERS, "test_comments_may_hold_anything"),
    ),
    (
        "an answer that breaks off",
        Covered(ANSWERS, "test_an_answer_that_breaks_off_has_only_whole_jobs"),
    ),
    ("N/A, Unknown, (null), NOT_SET and the like: times", Covered(ANSWERS, "test_times_left")),
    ("N/A, Unknown, (null), NOT_SET and the like: estimates", Covered(ANSWERS, "test_no_estimate")),
    ("N/A, Unknown, (null), NOT_SET and the like: nodes", Covered(ANSWERS, "test_no_node")),
    (
        "N/A, Unknown, (null), NOT_SET and the like: accounts",
        Covered(HOOKS, "test_without_accounting_sbatch_knows_the_account"),
    ),
    (
        "SLURM_TIME_FORMAT",
        Cannot(SHELL, '"SLURM_TIME_FORMAT": "standard"', "set for every command"),
    ),
    (
        "compact and long states",
        Cannot(
            f"{S}/slurm_answers.py",
            '"%i", "%T"',
            "%T is the long form; a short one would be Unknown",
        ),
    ),
    (
        "CANCELLED by 1234, and a trailing +",
        Covered(ANSWERS, "test_accountings_words_may_be_cut_or_longer"),
    ),
    ("who cancelled it", Covered(HOOKS, "test_who_cancelled_a_job_is_asked_of_accounting")),
    (
        "every state has a meaning",
        Covered(ANSWERS, "test_every_state_that_squeue_names_is_known_but_one"),
    ),
    ("a state that is not known", Covered(ANSWERS, "test_an_unknown_state_concludes_nothing")),
    ("COMPLETING", Covered(HOOKS, "test_a_job_that_lives")),
    ("PREEMPTED is an end", Covered(ANSWERS, "test_rarer_ends")),
    ("PREEMPTED, on a real Slurm", Covered(CLUSTER_FAULTS, "test_preempted")),
    ("SUSPENDED and STOPPED live", Covered(ANSWERS, "test_rarer_states_of_a_job_that_lives")),
    ("SUSPENDED, on a real Slurm", Covered(CLUSTER_FAULTS, "test_suspended_and_resumed")),
    (
        "requeued: the same id, pending again",
        Covered(HOOKS, "test_a_requeued_job_is_the_same_one_on_its_way_back"),
    ),
    (
        "arrays and heterogeneous jobs",
        Covered(ANSWERS, "test_only_the_job_itself_answers_for_its_id"),
    ),
    (
        "lists of nodes",
        Cannot(
            f"{S}/slurm_answers.py",
            '"%B"',
            "the node of the batch script is asked for, which is one",
        ),
    ),
    (
        "--json and its schemas",
        Cannot(f"{S}/slurm_commands.py", '_ALL = ("--states=all", "--noheader")', "it is not used"),
    ),
    ("reasons with commas and lists", Covered(ANSWERS, "test_reasons_in_plain_words")),
    (
        "reasons in plain words, the raw one beside",
        Covered(HOOKS, "test_a_job_that_waits_says_why_and_until_when"),
    ),
    ("estimates that are N/A", Covered(HOOKS, "test_a_job_that_waits_says_why_and_until_when")),
    (
        "an estimate moves: it is told with its age",
        Covered("unit/test_wording.py", "test_an_estimate_has_an_age"),
    ),
    (
        "the reason that stands with CANCELLED is why it waited",
        Covered(HOOKS, "test_a_cancelled_job_is_over_whatever_accounting_says"),
    ),
    (
        "--signal comes up to a minute early, and would end a shell",
        Covered(RENDERING, "test_the_warning_comes_in_the_second_half_or_not_at_all"),
    ),
    ("walltime reached", Covered(HOOKS, "test_walltime_reached")),
    (
        "out of memory, a dead node, a script that does not start",
        Covered(HOOKS, "test_a_job_that_ended_a_moment_ago"),
    ),
    ("cancelling what has ended, or what is another's", Covered(HOOKS, "test_cancelling")),
    # 4.5: detection
    ("full match, not a prefix", Covered(SITES, "test_elsewhere_nobody_asks")),
    ("more than one signal", Covered(SITES, "test_a_login_node_is_known_without_a_question")),
    ("ClusterName", Covered(SITES, "test_a_host_of_another_name_is_what_its_slurm_says")),
    ("a site's name does not tell its scheduler", Covered(SITES, "test_stratus_is_not_tscc")),
    (
        "why a site was chosen; two that claim a host",
        Covered("unit/test_plugins.py", "test_two_claims_are_an_error_that_names_both"),
    ),
]


@pytest.mark.parametrize(("case", "answer"), TABLE, ids=[case for case, _ in TABLE])
def test_each_case_is_covered_or_cannot_arise(case: str, answer: Covered | Cannot) -> None:
    check(answer)


def test_no_case_is_there_twice() -> None:
    assert said_twice(TABLE) == []
