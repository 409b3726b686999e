"""`rps start`, one straight line: issue, render, save, submit, link.

Detection, configuration and planning come before (`cluster`, `planning`), following after (`follow`).
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from rps_core import again, remembered
from rps_core.account import login_name
from rps_core.client import Client, Issued, configured_client
from rps_core.cluster import Here
from rps_core.ending import end_job
from rps_core.errors import (
    InterruptedByUserError,
    JobError,
    RpsError,
    SchedulerError,
    ServiceError,
)
from rps_core.interrupts import Held
from rps_core.log import get_logger
from rps_core.models import Job, SessionSpec
from rps_core.node import archive
from rps_core.planning import Plan
from rps_core.record import Endpoint, Record, Secrets
from rps_core.session import come_back
from rps_core.session_files import SessionFiles
from rps_core.shell import Shell
from rps_core.store import Store, prune

PLACEHOLDER = "three-random-words"
_FOR_THE_NODE = (
    Path(__file__).parent / "batch" / "prepare.sh",
    Path(__file__).parent / "batch" / "run-agent.sh",
)

log = get_logger(__name__)


def start(here: Here, plan: Plan, store: Store, shell: Shell, held: Held) -> Record:
    """Start a session and answer its record, once the job is submitted and linked.

    Whatever fails or interrupts it before then leaves no name at the service; a failed submission
    leaves a record that says why.

    Raises:
        ServiceError: the service does not answer or issues no name.
        SchedulerError: the scheduler refused the job.
        KeyboardInterrupt: `held` had one before the job was submitted.
    """
    store.probe()
    prune(store, here.loaded.settings.keep_ended)
    client = configured_client(here.loaded)
    cluster = here.site.cluster
    issued = client.issue(cluster=cluster.name, scheduler=cluster.scheduler, user=login_name())
    endpoint = client.endpoint  # after the call: one's own service may have moved
    log.info("name issued", name=issued.name)
    record = _new_record(here, plan, issued, endpoint)
    try:
        held.check()
        session = store.create(record, Secrets(issued.claim, os.urandom(16).hex()))
        _write_for_the_node(session, here, plan, issued, endpoint)
        spec = session_spec(here, plan, record.name, record.tag, session.directory)
        script = session.write(session.script.name, here.site.render_batch(spec), 0o700)
        if not plan.inside:
            record = store.save(replace(record, submitting=True))
        held.check()
        held.firm = True
        if plan.inside:
            job_id = plan.inside.job_id
            here.site.start_step(spec, job_id, script, shell)
        else:
            job_id = here.site.submit(spec, script, shell)
        record = _submitted(here, store, record, job_id, shell)
    except SchedulerError as error:
        remembered.forget(cluster)
        _give_up(client, store, record, issued, error)
        raise
    except BaseException as error:
        _give_up(client, store, record, issued, error)
        raise
    finally:
        held.firm = False
    log.info("job submitted", name=record.name, job_id=job_id)
    try:
        _link(here, client, store, record, issued, shell)
        here.site.session_started(record)
    except KeyboardInterrupt:
        raise InterruptedByUserError(come_back(record)) from None
    return record


def session_spec(here: Here, plan: Plan, name: str, tag: str, session_dir: Path) -> SessionSpec:
    """What the batch script is rendered from."""
    return SessionSpec(
        name=name,
        tag=tag,
        app=plan.app,
        template=plan.template,
        session_dir=session_dir,
        directory=plan.directory,
        allocation=plan.allocation,
        gpu_directive=here.loaded.settings.scheduler.gpu_directive,
        warn_before=here.loaded.settings.scheduler.warn_before,
    )


def dry_run(here: Here, plan: Plan, store: Store) -> str:
    """The batch script as it would be submitted, under a placeholder for the name."""
    directory = store.files(PLACEHOLDER).directory
    spec = session_spec(here, plan, PLACEHOLDER, f"rps:{PLACEHOLDER}", directory)
    return here.site.render_batch(spec)


def _submitted(here: Here, store: Store, record: Record, job_id: str, shell: Shell) -> Record:
    """Note the job's id, unless the session was stopped while the scheduler was asked.

    Raises:
        JobError: it was; the job is cancelled.
    """
    submitted = replace(record, job_id=job_id, submitting=False)
    try:
        submitted = store.save(submitted)
    except OSError as error:  # a full disk: the job is there all the same, and is found by its tag
        log.warning("job's id not noted", name=record.name, job_id=job_id, reason=error.strerror)
    if submitted.ended is not None:
        raise _stopped_meanwhile(here, store, submitted, shell)
    return submitted


def _link(
    here: Here, client: Client, store: Store, record: Record, issued: Issued, shell: Shell
) -> None:
    """Tell the service which job it is. The job runs already: a service that went away in between must
    not make this a failure.

    Raises:
        JobError: the name was revoked, so another command has stopped the session.
    """
    try:
        client.link(issued.name, issued.claim, str(record.job_id))
    except ServiceError as error:
        if error.code == "gone" and not _has_ended(store, record):
            raise _stopped_meanwhile(here, store, record, shell) from None
        log.warning("job not linked", name=record.name, reason=error.message)


def _has_ended(store: Store, record: Record) -> bool:
    """The agent may have failed, and revoked the name, faster than we could link it."""
    return any(event.get("event") == "ended" for event in store.files(record.name).events())


def _stopped_meanwhile(here: Here, store: Store, record: Record, shell: Shell) -> JobError:
    directory = store.files(record.name).directory
    job = Job(id=str(record.job_id), tag=record.tag, session_dir=directory)
    end_job(record, job, here, shell)
    reason = "stopped while it was being started"
    store.end(record, now=time.time(), outcome="ended", reason=reason, cause="stopped")
    return JobError(f"{record.name} was {reason}", "Nothing is left of it.")


def _new_record(here: Here, plan: Plan, issued: Issued, endpoint: Endpoint) -> Record:
    cluster = here.site.cluster
    return Record(
        name=issued.name,
        tag=f"rps:{issued.name}:{os.urandom(4).hex()}",
        cluster=cluster.name,
        site=cluster.site,
        scheduler=cluster.scheduler,
        url=issued.url,
        endpoint=endpoint,
        own_service=here.loaded.settings.proxy.own,
        app=plan.app,
        directory=str(plan.directory),
        walltime=int(plan.allocation.walltime.total_seconds()),
        created=time.time(),
        job_id=plan.inside.job_id if plan.inside else None,
        inside=plan.inside is not None,
        settings=again.settings_to_keep(here.loaded, plan),
    )


def _write_for_the_node(
    session: SessionFiles, here: Here, plan: Plan, issued: Issued, endpoint: Endpoint
) -> None:
    """All that the agent needs, copied: the node may not see the installation or the CA."""
    write = functools.partial(session.write, lasting=False)
    write(archive.NAME, archive.build())
    for source in _FOR_THE_NODE:
        write(source.name, source.read_text("utf-8"))
    if endpoint.ca_file:
        write("service-ca.pem", Path(endpoint.ca_file).read_text("utf-8"))
    write("interpreters", f"{sys.executable}\n")
    notebook = here.loaded.settings.notebook
    write("modules", "".join(f"{module}\n" for module in notebook.modules))
    write("conda-env", f"{notebook.conda_env}\n" if notebook.conda_env else "")
    if plan.prologue:
        write("prologue.sh", plan.prologue)
    launch = {
        "version": 1,
        "name": issued.name,
        "host": issued.host,
        "url": issued.url,
        "service": {
            "host": endpoint.host,
            "port": endpoint.port,
            "connect": endpoint.connect,
            "ca_file": "service-ca.pem" if endpoint.ca_file else None,
            "protocol": endpoint.protocol,
        },
        "directory": str(plan.directory),
        "jupyter": plan.jupyter,
        "container": list(plan.container) if plan.container else None,
        "port_range": list(notebook.port_range) or None,
        "start_timeout": notebook.start_timeout,
        "walltime": int(plan.allocation.walltime.total_seconds()),
        "shutdown_before": notebook.shutdown_before,
        "idle_timeout": plan.idle_timeout,
    }
    write("launch.json", json.dumps(launch, indent=1))


def _give_up(
    client: Client, store: Store, record: Record, issued: Issued, error: BaseException
) -> None:
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = "interrupted" if interrupted else f"not submitted: {error}".splitlines()[0]
    try:
        client.revoke(issued.name, issued.claim, reason, "not-submitted")
    except ServiceError as away:
        log.warning("name not revoked; it expires by itself", name=record.name, reason=away.message)
    if isinstance(error, JobError):
        return  # stopped by another command, which has noted its end
    if interrupted or isinstance(error, OSError) or not _recorded(store, record):
        store.remove(record.name)
        return
    cause = (error.cause if isinstance(error, SchedulerError) else "") or "refused"
    ended = store.end(record, now=time.time(), outcome="failed", reason=reason, cause=cause)
    if not isinstance(error, RpsError):
        log.error("defect while starting", name=ended.name, kind=type(error).__name__)


def _recorded(store: Store, record: Record) -> bool:
    return store.files(record.name).record_file.exists()
