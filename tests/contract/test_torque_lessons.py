"""Every edge case that is known of schedulers in general, and of Torque and PBS: which test covers it,
or which code makes it impossible here. The tests below keep the table true."""

from __future__ import annotations

import pytest

from tests.contract.lessons import Cannot, Covered, check, said_twice

TORQUE = "contract/test_torque.py"
FORGOTTEN = "contract/test_torque_forgotten.py"
WRAPPERS = "contract/test_torque_wrappers.py"
RENDERING = "contract/test_torque_rendering.py"
PBS = "contract/test_pbs.py"
TSCC = "contract/test_tscc_site.py"
S = "rps_core/schedulers"

TABLE: list[tuple[str, Covered | Cannot]] = [
    # 4.1, for all schedulers
    (
        "unknown drops no session: server ill",
        Covered(TORQUE, "test_a_server_that_is_ill_makes_unknown"),
    ),
    ("unknown drops no session: PBS", Covered(PBS, "test_a_server_that_is_ill_makes_unknown")),
    (
        "unknown drops no session: a missing id",
        Covered(FORGOTTEN, "test_one_denial_of_a_job_that_ran_is_none"),
    ),
    (
        "unknown drops no session: silence",
        Covered(TORQUE, "test_no_output_at_all_is_not_the_end_of_a_job"),
    ),
    (
        "argument lists, never a shell",
        Cannot(
            "rps_core/shell.py", "command = sh.Command(argv[0])", "arguments are passed as a list"
        ),
    ),
    ("the C locale", Cannot("rps_core/shell.py", '"LC_ALL": "C"', "set for every command")),
    (
        "a time-out of one's own: a submission",
        Covered(TORQUE, "test_a_submission_that_hung_is_found_by_its_name"),
    ),
    (
        "a time-out of one's own: a poll",
        Covered(WRAPPERS, "test_a_qstat_that_hangs_is_an_error_that_makes_unknown"),
    ),
    (
        "stderr is kept apart",
        Cannot(
            "rps_core/shell.py",
            "_text(running.stdout), _text(running.stderr)",
            "two fields of Finished",
        ),
    ),
    ("names that are not UTF-8", Covered(TORQUE, "test_xml_that_is_not_well_formed_is_read")),
    (
        "wrappers that print banners: qsub",
        Covered(TORQUE, "test_the_last_line_that_is_an_id_is_taken"),
    ),
    (
        "wrappers that print banners: qstat",
        Covered(TORQUE, "test_a_banner_before_and_behind_is_no_matter"),
    ),
    ("one batched query", Covered(TORQUE, "test_200_jobs_are_one_call")),
    (
        "one batched query: second opinions",
        Covered(FORGOTTEN, "test_one_question_for_all_that_were_forgotten"),
    ),
    (
        "not more often than every 15 s",
        Cannot(f"{S}/torque.yaml", "poll_interval: 15", "by configuration"),
    ),
    (
        "no heavy qstat -f of everybody's jobs",
        Cannot(f"{S}/torque.py", 'shell("qstat", "-x", *ids', "jobs are asked for by id"),
    ),
    (
        "directives that a site refuses, and none invented",
        Covered(RENDERING, "test_torque_asks_for_no_more_than_was_asked"),
    ),
    (
        "memory is rounded up and read in all spellings",
        Covered("unit/test_quantities.py", "test_memory_is_understood"),
    ),
    ("memory in the scheduler's unit", Covered(RENDERING, "test_torque_asks_for_everything")),
    (
        "getlogin() without a terminal",
        Cannot("rps_core/account.py", "pwd.getpwuid(os.getuid())", "by uid"),
    ),
    ("hosts in all forms, a hint only", Covered(TORQUE, "test_the_node_is_the_first_host")),
    # 4.4, Torque and PBS
    (
        "-x is XML or history: Torque sees PBS's table",
        Covered(TORQUE, "test_the_table_of_pbs_is_not_taken_for_anything"),
    ),
    ("-x is XML or history: PBS is asked in its own way", Covered(PBS, "test_states")),
    (
        "which product it is, found out once",
        Covered(WRAPPERS, "test_they_are_recognised_by_their_first_answer_once"),
    ),
    ("empty output without jobs", Covered(TORQUE, "test_no_output_at_all_is_not_the_end_of_a_job")),
    ("ids with a server's name, kept in full", Covered(TORQUE, "test_the_id_is_kept_in_full")),
    (
        "ids compared by number and server",
        Covered(TORQUE, "test_ids_are_compared_by_number_and_server"),
    ),
    ("ids of arrays", Covered(TORQUE, "test_an_element_of_an_array_is_a_job_like_others")),
    (
        "the id that tables cut off",
        Cannot(
            f"{S}/torque_answers.py", "_xml_attributes(document) for document", "no table is read"
        ),
    ),
    (
        "a server's name that is not the site's pattern",
        Covered(TORQUE, "test_the_last_line_that_is_an_id_is_taken"),
    ),
    (
        "qsub prints banners: the last line that is an id",
        Covered(TORQUE, "test_the_last_line_that_is_an_id_is_taken"),
    ),
    (
        "continuation lines of qstat -f, broken anywhere",
        Covered(TORQUE, "test_folded_and_unfolded_text_say_the_same"),
    ),
    ("values of several lines", Covered(TORQUE, "test_a_value_of_several_lines_ends_nothing")),
    (
        "JSON without Jobs, with the first of several ids alone, invalid, or with duplicate keys",
        Cannot(f"{S}/pbs.py", 'shell("qstat", "-xf", *ids', "JSON is not asked for"),
    ),
    (
        "JSON of several ids, as it was seen",
        Covered(PBS, "test_json_would_have_shown_the_first_job_alone"),
    ),
    ("no comment", Covered(TORQUE, "test_a_comment_that_is_missing_or_strange_is_kept_as_it_is")),
    (
        "153, in a mixed list: Torque",
        Covered(TORQUE, "test_an_unknown_id_does_not_spoil_the_others"),
    ),
    (
        "153, in a mixed list: PBS",
        Covered(PBS, "test_one_call_for_all_in_spite_of_one_that_is_unknown"),
    ),
    ("35, finished: a poll includes the history", Covered(PBS, "test_ends")),
    ("35, finished: qdel", Covered(PBS, "test_cancelling")),
    ("no history at all", Covered(PBS, "test_without_history_it_is_asked_for_what_is_there")),
    (
        "connection refused, errno 111, 15010",
        Covered(TORQUE, "test_a_server_that_is_ill_makes_unknown"),
    ),
    (
        "jobs that Torque forgets at once: the agent's note",
        Covered(FORGOTTEN, "test_the_agents_own_word_is_evidence"),
    ),
    (
        "jobs that Torque forgets at once: never started",
        Covered(FORGOTTEN, "test_a_job_that_never_started_and_is_denied_is_over"),
    ),
    (
        "jobs that Torque forgets at once: absence alone",
        Covered(FORGOTTEN, "test_one_denial_of_a_job_that_ran_is_none"),
    ),
    ("the states Q H W E R C", Covered(TORQUE, "test_each_state_in_each_form")),
    ("the state S", Covered(TORQUE, "test_a_suspended_job_lives")),
    (
        "the states M U X B, and unheard-of ones",
        Covered(TORQUE, "test_a_state_that_nobody_knows_is_unknown"),
    ),
    (
        "the states M U X B of PBS",
        Covered(PBS, "test_states_of_arrays_and_of_other_servers_are_unknown"),
    ),
    ("E is alive, and ending", Covered(TORQUE, "test_each_state_in_each_form")),
    ("exit_status: negative, 256 + signal, 265, 271", Covered(TORQUE, "test_exit_statuses")),
    ("Exit_status", Covered(PBS, "test_exit_statuses")),
    (
        "an exit_status that is an earlier run's",
        Covered(TORQUE, "test_an_old_exit_status_of_a_job_that_runs_again_counts_for_nothing"),
    ),
    (
        "owners with dots and dashes",
        Cannot(
            f"{S}/torque_answers.py",
            "def matching(job_id",
            "jobs are found by id, owners are not read",
        ),
    ),
    ("exec_host in all forms", Covered(TORQUE, "test_the_node_is_the_first_host")),
    (
        "job names: 15 characters, a letter first",
        Covered(TORQUE, "test_job_names_are_what_every_torque_takes_and_differ"),
    ),
    (
        "job names: from anything",
        Covered(RENDERING, "test_no_name_of_a_job_can_be_made_to_be_anything"),
    ),
    (
        "jobs start in $HOME",
        Cannot(
            "rps_core/batch/torque/jupyterlab.sh",
            'exec /bin/sh "$RPS_SESSION/run-agent.sh"',
            "every path in the script is absolute",
        ),
    ),
    (
        "output arrives at the end only",
        Cannot(
            "rps_core/batch/torque/jupyterlab.sh",
            'exec >>"$RPS_SESSION/job.log" 2>&1',
            "the script writes its log itself",
        ),
    ),
    (
        "the copy of the output replaces the log",
        Cannot(
            f"{S}/torque_directives.py", "path = session_dir / OUTPUT", "it goes to another file"
        ),
    ),
    (
        "-v with commas, quotes, blanks",
        Cannot(
            "rps_core/rendering.py",
            "RPS_SESSION={shlex.quote",
            "values travel in files; there is no -v",
        ),
    ),
    (
        "$PBS_JOBID and the like in -o",
        Covered(RENDERING, "test_a_session_directory_that_qsub_would_expand_is_refused"),
    ),
    ("qdel of a finished job", Covered(TORQUE, "test_what_is_over_or_ending_needs_no_end")),
    ("qdel too early, or that hangs", Covered(TORQUE, "test_what_cannot_be_ended_is_told")),
    (
        "qsig reaches every process of the session",
        Covered("faults/test_agent_jupyter.py", "test_a_session_from_start_to_term"),
    ),
    ("nodes=1:ppn=N", Covered(RENDERING, "test_torque_asks_for_everything")),
    ("select=1:ncpus=N:mem=…", Covered(RENDERING, "test_pbs_asks_for_everything")),
    (
        "advres, or a queue as a reservation",
        Covered(RENDERING, "test_a_reservation_of_pbs_is_a_queue"),
    ),
    ("GPU spellings", Covered(TSCC, "test_a_dry_run_of_each_option")),
    (
        "job_stat_rate: not from one poll",
        Covered(FORGOTTEN, "test_nothing_is_concluded_right_after_the_submission"),
    ),
    (
        "job_stat_rate: what it delays",
        Cannot(
            f"{S}/torque_states.py",
            'job.get("job_state", "")',
            "the state is the server's own; resources_used alone is late",
        ),
    ),
    (
        "showstart may be missing or slow",
        Cannot(
            f"{S}/torque_states.py",
            "estimated_start=_time(job.get(",
            "not asked: Moab's and Maui's alone, one job a call (200 sessions would be 200 calls), and no "
            "real answer is recorded to read it by; an estimate that qstat shows is taken",
        ),
    ),
    # From the notes on the real Torque
    (
        "an empty script makes an id that never exists",
        Cannot(
            "rps_core/rendering.py", 'not text.startswith("#!")', "an empty template is refused"
        ),
    ),
    ('qstat "" lists all jobs', Covered(TORQUE, "test_ids_that_are_none_are_not_asked_for")),
    (
        "out of memory under Slurm's wrappers: state U",
        Covered(WRAPPERS, "test_states"),
    ),
    (
        "which product it is, by its version",
        Covered(TORQUE, "test_the_product_tells_its_version_in_its_own_way"),
    ),
    ("an answer for another job", Covered(TORQUE, "test_an_answer_for_another_job_is_none")),
    ("several ids, several XML documents", Covered(TORQUE, "test_one_call_for_all_jobs")),
    (
        "XML that is cut off",
        Covered(TORQUE, "test_xml_that_is_cut_off_anywhere_never_ends_a_session"),
    ),
    (
        "a line in a value that looks like an attribute",
        Covered(TORQUE, "test_a_line_within_a_value_overrules_no_attribute"),
    ),
    (
        "deleted before it started",
        Covered(TORQUE, "test_a_job_that_was_deleted_in_the_queue_never_ran"),
    ),
    ("walltime over: -11", Covered(TORQUE, "test_the_walltime_was_over")),
    (
        "walltime over: 271 of an old Torque",
        Covered(TORQUE, "test_an_old_torque_has_no_status_of_its_own_for_it"),
    ),
    (
        "the mom is dead: R for ever",
        Covered(TORQUE, "test_a_dead_node_leaves_the_job_running_as_far_as_torque_knows"),
    ),
    (
        "a server that was renamed",
        Covered(FORGOTTEN, "test_a_server_with_another_name_is_found_out"),
    ),
    (
        "CRLF",
        Cannot(
            "rps_core/rendering.py", 'replace("\\r\\n", "\\n")', "line ends are made the shell's"
        ),
    ),
]


@pytest.mark.parametrize(("case", "answer"), TABLE, ids=[case for case, _ in TABLE])
def test_each_case_is_covered_or_cannot_arise(case: str, answer: Covered | Cannot) -> None:
    check(answer)


def test_no_case_is_there_twice() -> None:
    assert said_twice(TABLE) == []
