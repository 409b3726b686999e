"""The errors of rps: one base class, and one exit code for each kind.

A `RpsError` is an expected failure: the command line prints it in full, without a traceback, and
exits with its `exit_code`. Anything else that escapes is a defect in rps (exit code 1).
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_INTERRUPTED = 130


class RpsError(Exception):
    """An expected failure.

    The `message` gives what failed and the cause, the `hint` what to do. Neither may hold a
    secret: both are printed and logged.
    """

    exit_code = EXIT_DEFECT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint.rstrip()

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(RpsError):
    """The command line or the configuration asks for something that cannot be."""

    exit_code = 2


class DetectionError(RpsError):
    """No cluster, or more than one, claims this host."""

    exit_code = 3


class ServiceError(RpsError):
    """The Reverse Proxy Service did not answer, or refused.

    `transient` is true where the same call may succeed later (no answer, overload);
    `code` is the service's own word for the refusal (docs/protocol.md), empty without an answer.
    """

    exit_code = 4

    def __init__(
        self, message: str, hint: str = "", *, transient: bool = False, code: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.transient = transient
        self.code = code


class SchedulerError(RpsError):
    """The scheduler refused, or did not answer.

    `transient`: as for `ServiceError`; `cause`: a `rps_core.protocol.Cause`, empty if none is known.
    """

    exit_code = 5

    def __init__(
        self, message: str, hint: str = "", *, transient: bool = False, cause: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.transient = transient
        self.cause = cause


class AnotherJobError(SchedulerError):
    """The scheduler has another job with this id, which was not touched."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "That job was not touched.", cause="id-reused")


class JobError(RpsError):
    """The job or the application in it failed."""

    exit_code = 6


class EnvironmentBuildError(RpsError):
    """An environment could not be built (`--env`, `--with`); the message has the tool's last lines."""

    exit_code = 6


class StillWaitingError(RpsError):
    """A session is not ready within the time that was given for it; it goes on."""

    exit_code = 8


class InterruptedByUserError(RpsError):
    """Ctrl-C while something goes on; the message names it and how to end it."""

    exit_code = EXIT_INTERRUPTED


class NotFoundError(RpsError):
    """There is no such session."""

    exit_code = 7


class UnhealthyError(RpsError):
    """`rps doctor` found something that fails, or a service is not ready."""

    exit_code = 9


class PluginError(RpsError):
    """A plugin of this cluster failed, or its answer is not of the declared type."""

    exit_code = 10


class RequestRefusedError(RpsError):
    """The site's policy refuses a request; message and hint are the site's own words."""

    exit_code = 11


class ConnectError(RpsError):
    """No ssh connection to a cluster, or none that can be used (`rps connect`).

    `transient`: as for `ServiceError`.
    """

    exit_code = 12

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message, hint)
        self.transient = transient
