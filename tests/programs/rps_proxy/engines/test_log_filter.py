"""The engines' log filter as a process."""

from __future__ import annotations

import os
import signal
import subprocess

from rps_proxy.engines.log_filter import (
    MOST_LINES,
    command,
)


def test_it_ends_with_the_engine_and_writes_its_last_lines() -> None:
    with subprocess.Popen(
        command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("first\n")
        process.stdin.flush()
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGTERM)
        process.stdin.write("x\n" * (MOST_LINES + 1) + "no end")
        process.stdin.close()
        *lines, cut, left_out = process.stdout.read().split("\n")[:-1]
        assert lines == ["x"] * MOST_LINES
        assert (cut, left_out) == ("no end", "log-lines-left-out number=1 of=x")
    assert process.returncode == 0


def test_a_reader_that_has_gone_does_not_end_it() -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=writer) as process:
        os.close(writer)
        os.close(reader)
        assert process.stdin
        for _ in range(3):
            process.stdin.write(b"line\n")
            process.stdin.flush()
    assert process.returncode == 0
