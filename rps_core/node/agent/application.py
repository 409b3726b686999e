"""Start the application that the session's URL opens, behind Jupyter's login (apps.py)."""

from typing import Any, Dict, List, Optional

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.files import interpreters
from rps_core.node.agent.jupyter_api import JupyterApi, Unready
from rps_core.node.agent.session import Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

STATES = "/api/rps/apps"
OLDEST = 4  # version of jupyter-server-proxy: with Unix sockets
_ASK = (
    "from importlib.metadata import version; "
    "print(int(version('jupyter_server_proxy').split('.')[0]) >= %d)" % OLDEST
)
REST = 15.0  # seconds beyond the application's own time for its answer


def serving(programs: List[str], watch: Watch) -> str:
    """Return the first Jupyter whose Python has jupyter-server-proxy.

    Args:
        programs: paths of `jupyter`, the preferred one first.
        watch: waits for the Pythons that are asked.

    Raises:
        End: none has it.
    """
    for program in programs:
        python = interpreters(program)[-1:]
        answer = watch.output_of([*python, "-c", _ASK]) if python else None
        if answer is not None and answer.strip() == "True":
            return program
    raise End(
        EndCause.START_FAILED,
        "The application cannot be served: the Python of %s has no jupyter-server-proxy, version %d or newer"
        % (" and that of ".join(programs), OLDEST),
    )


def start_application(session: Session, api: JupyterApi, watch: Watch, events: Events) -> None:
    """Start it by a first visit, and wait until it answers.

    The event `applications` says whether this Jupyter can serve any, and what it lacks for which.

    Raises:
        End: it cannot be started, ends, or does not answer in its time.
    """
    name = session.app
    if name is None:
        _report(_states(api), events)
        return
    row = session.apps[name]
    what = "The application %s " % name
    log("starting the application %s" % name)
    timeout = float(row["timeout"]) + REST
    # JSON: a page's visit would be redirected.
    headers = {"Authorization": "token " + session.token, "Accept": "application/json"}
    path = "/app/%s/%s" % (name, row["path"])
    try:
        watch.aside(lambda: api.call("GET", path, headers, None, timeout))
    except Unready as unready:
        log("%s: %s" % (path, unready))
    states = _states(api)
    _report(states, events)
    if states is None:
        raise End(
            EndCause.START_FAILED,
            what + "cannot be served: Jupyter has no jupyter-server-proxy, or does not load it",
        )
    found = states.get(name, {})
    if found.get("state") == "ready":
        return
    reason = found.get("reason") or "did not answer within %d s" % timeout
    raise End(EndCause.START_FAILED, what + reason, str(found.get("log", "")))


def _report(states: Optional[Dict[str, Any]], events: Events) -> None:
    lacking = {
        name: state for name, state in (states or {}).items() if state.get("state") == "missing"
    }
    events.add(
        "applications",
        served=states is not None,
        missing={name: state.get("lacks") for name, state in lacking.items()},
        path=next((state.get("path") for state in lacking.values()), ""),
    )


def _states(api: JupyterApi) -> Optional[Dict[str, Any]]:
    """Return the states (apps.py); None: Jupyter serves no applications."""
    try:
        found = api.ask(STATES)
    except Unready as unready:
        log("%s: %s" % (STATES, unready))
        return None
    return found if isinstance(found, dict) else None
