"""What the agent's walltime and idle checks use: watch, Jupyter API, events."""

from __future__ import annotations

from typing import Any

from rps_core.node.agent.idle_care import IdleCare


class StandIn:
    """The watch, the Jupyter API and the event log, as the checks see them."""

    def __init__(self, answer: str | None = None) -> None:
        self.answer = answer  # output of the scheduler's command, or of nvidia-smi
        self.answers: dict[str, str | None] = {}  # of commands that begin so, before `answer`
        self.asked: list[list[str]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.shown: list[dict[str, Any]] = []
        self.saved: list[str] = []
        self.told_time_is_up = False
        self.application = None
        self.api: dict[str, Any] = {}

    def output_of(self, command: list[str]) -> str | None:
        self.asked.append(command)
        line = " ".join(command)
        return next(
            (self.answers[one] for one in self.answers if line.startswith(one)), self.answer
        )

    def add(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def tell_tabs(self, message: dict[str, Any]) -> dict[str, Any]:
        self.shown.append(message)
        return {}

    def save_tabs(self, text: str, seconds: float = 10.0) -> None:
        self.saved.append(text)

    def ask(self, path: str, body: Any = None) -> Any:
        found = self.api.get(path)
        if isinstance(found, Exception):
            raise found
        return found


def idle_care_of(stand: StandIn, timeout: float = 600) -> IdleCare:
    part: Any = stand
    return IdleCare(part, part, part, timeout, ["srun"])
