"""The causes of a session's end that the agent can report."""

from rps_core.node.agent.events import EndCause

AGENT_CAUSES = frozenset(word for name, word in vars(EndCause).items() if name.isupper())
