"""A command's stderr where its exit code is 0."""

from __future__ import annotations

import pytest

from rps_core.system.complaints import complains, has_answered
from rps_core.system.shell import Finished

LD_SO = (
    "ERROR: ld.so: object '/opt/mon.so' from LD_PRELOAD cannot be preloaded "
    "(cannot open shared object file): ignored.\n"
)


@pytest.mark.parametrize(
    ("argv", "stderr"),
    [
        # openpbs 23.06, src/cmds/qstat.c and qselect.c
        (("qstat", "-xf"), "qstat: PBS is not configured to maintain job history 25.mgr\n"),
        (
            ("/opt/pbs/bin/qselect", "-x"),
            "qselect: PBS is not configured to maintain job history \n",
        ),
        # Slurm's src/squeue/print.c, by slurm_perror()
        (("squeue",), "slurm_load_jobs error: Socket timed out on send/recv operation\n"),
        (("squeue",), f"{LD_SO}squeue: error: Invalid user: nobody7\n"),
        # Torque's libraries, seen with 6.1.3
        (("qstat",), "socket_connect_unix failed: 15137\n"),
        (("qstat",), "\nUnable to communicate with mgr(10.99.7.1)\n"),
        # OpenPBS's libraries, seen with 23.06
        (("qstat",), "Connection refused\n"),
    ],
)
def test_errors(argv: tuple[str, ...], stderr: str) -> None:
    done = Finished(argv, 0, "", stderr)
    assert complains(done)
    assert not has_answered(done)
    assert has_answered(Finished(argv, 0, "1.mgr\n", stderr)), "some output is an answer"
    assert not has_answered(Finished(argv, 1, "1.mgr\n", stderr))


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        LD_SO,
        "*** Welcome to the cluster: maintenance on 12 December ***\n",
        "bash: warning: setlocale: LC_ALL: cannot change locale (C)\n",
        "squeue: warning: Ignoring SLURM_CONF_X\n",
        "qsub: this line is of another command\n",
    ],
)
def test_harmless_lines(stderr: str) -> None:
    done = Finished(("squeue", "--noheader"), 0, "", stderr)
    assert not complains(done)
    assert has_answered(done)
    assert not has_answered(Finished(("squeue", "--noheader"), 1, "", stderr))
