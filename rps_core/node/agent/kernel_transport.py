"""Choose how Jupyter reaches each kernel, and learn it; run by Jupyter's Python >= 3.6.

Jupyter connects to a kernel by five ZeroMQ sockets. Three ways, the first that works is used:

- `curve`: TCP on the loopback, encrypted by CurveZMQ. Jupyter Client 8.9 or newer, and a kernel whose
  kernelspec has `metadata.supported_encryption: curve`.
- `ipc`: Unix sockets in a directory that only the user can enter.
- `tcp`: TCP on the loopback. Messages are signed and not encrypted, so that every user of the node can
  connect and read what the kernel prints. The site can forbid it.

Which one works is learned once for each kernelspec: from the kernelspec, else by trying.
"""

import hashlib
import itertools
import json
import os
import re
import sys
from typing import Any, Dict, List, Optional, Set

from tornado import gen, web

starting: Any = sys.modules["rps_kernel_start"]  # jupyter_config.py has put kernel_start.py there

CURVE, IPC, TCP = "curve", "ipc", "tcp"
NAMES = {CURVE: "encrypted TCP", IPC: "Unix sockets", TCP: "TCP"}
LOOPBACK = "127.0.0.1"
# Modules of Python that support Unix sockets: such a kernel is waited for.
WITH_IPC = ("ipykernel", "ipykernel_launcher", "bash_kernel")
# JeroMQ, of kernels on the JVM, opens TCP ports for ipc; Deno ends; remote_ikernel forwards TCP ports.
PROGRAMS_WITHOUT_IPC = ("java", "deno", "coursier", "almond", "remote_ikernel")
WITHOUT_IPC = ("run_kotlin_kernel", "remote_ikernel")
# Seconds for a kernel's first heartbeat: as `kernel_info_timeout` of Jupyter Server.
PATIENCE = 60.0
MOST_LEARNED = 200  # kernelspecs
WHO_READS = "other users of this node can read what it prints (docs/kernels.md)"


class Trial:
    """What is not known yet of a kernel that starts."""

    def __init__(self, name: str, spec: Any, way: str, others: List[str]) -> None:
        self.name = name
        self.spec = digest(spec)
        self.robust = knows_ipc(spec.argv) is True
        self.way = way
        self.others = others  # ways that are left, best first


class Transports:
    """The ways to this session's kernels.

    Args:
        sockets: directory for Unix sockets that only the user can enter.
        tcp: whether the site allows kernels over TCP without encryption.
        memory: file in which the ways are remembered for later sessions; empty: none.
        curve: whether this Jupyter can encrypt.
    """

    def __init__(self, sockets: str, tcp: bool, memory: str, curve: bool) -> None:
        self.numbers = itertools.count(1)
        self.sockets = sockets
        self.tcp = tcp
        self.memory = memory
        self.curve = curve
        self.patience = PATIENCE
        self.learned: Dict[str, str] = read_memory(memory)
        self.failed: Dict[str, Set[str]] = {}  # ways that did not work, by kernelspec

    def ways(self, spec: Any) -> List[str]:
        """Return the ways to try for a kernelspec, best first; one if it is known."""
        own = spec.metadata.get("rps")
        stated = own.get("transport") if isinstance(own, dict) else None
        if stated in (IPC, TCP):
            return [stated]
        encrypted = self.curve and declares_curve(spec.metadata)
        learned = self.learned.get(digest(spec))
        if learned is not None and (learned != CURVE or encrypted):
            return [learned]
        found = [CURVE] if encrypted else []
        return [*found, TCP] if knows_ipc(spec.argv) is False else [*found, IPC, TCP]

    def prepare(self, manager: Any) -> None:
        """Set the way of a kernel's manager that was just made.

        Raises:
            HTTPError: the site forbids it (Jupyter shows the text).
        """
        manager.rps_trial = None
        if not getattr(manager, "owns_kernel", True) or is_of_a_gateway(manager):
            return
        try:
            spec = manager.kernel_spec
        except Exception:  # noqa: BLE001 - its start reports it: there is no such kernel
            spec = None
        if spec is None:
            self.set_way(manager, IPC)
            return
        stated = spec.metadata.get("kernel_provisioner")
        provisioner = stated.get("provisioner_name") if isinstance(stated, dict) else None
        if provisioner not in (None, "local-provisioner"):
            self.check_allowed(manager.kernel_name, "its provisioner %s connects it" % provisioner)
            say("kernel %s is connected by its provisioner %s", manager.kernel_name, provisioner)
            return
        key = digest(spec)
        ways = self.ways(spec)
        left = [way for way in ways if way not in self.failed.get(key, ())] or ways
        if left[0] == TCP:
            why = "it does not support Unix sockets"
            self.check_allowed(manager.kernel_name, why)
            say("kernel %s runs over TCP on the loopback: %s", manager.kernel_name, WHO_READS)
        self.set_way(manager, left[0])
        if len(ways) > 1:
            manager.rps_trial = Trial(manager.kernel_name, spec, left[0], left[1:])

    def check_allowed(self, name: str, why: str) -> None:
        """Raise HTTPError where the site forbids kernels over plain TCP."""
        if not self.tcp:
            text = "This site allows no kernel over TCP without encryption (limits.tcp_kernels)"
            raise web.HTTPError(403, "%s, and kernel %s needs it: %s." % (text, name, why))

    def set_way(self, manager: Any, way: str) -> None:
        """Set a manager's transport and address."""
        if way == IPC:
            manager.transport = "ipc"
            # Its own, or two that start at once would share them; short, for xeus (sockets.py).
            manager.ip = os.path.join(self.sockets, "%d" % next(self.numbers))
            return
        manager.transport, manager.ip = "tcp", LOOPBACK
        if way == CURVE:
            manager.transport_encryption = "auto"

    async def settle(self, kernels: Any, kernel_id: str, again: Any) -> None:
        """See that a kernel that was started answers; else start it in the next way.

        `again()` starts it with the same id.
        """
        while True:
            manager = kernels.get_kernel(kernel_id)
            trial = getattr(manager, "rps_trial", None)
            if trial is None:
                return
            reason = await self.why_not(manager, trial)
            if reason is None:
                return
            # A kernel that ends for another reason: Jupyter restarts it, or reports its end.
            if not trial.others or (trial.robust and trial.others[0] == TCP and not self.tcp):
                self.failed.pop(trial.spec, None)
                return
            self.failed.setdefault(trial.spec, set()).add(trial.way)
            by, then = NAMES[trial.way], NAMES[trial.others[0]]
            say("kernel %s did not start over %s: %s. Trying %s", trial.name, by, reason, then)
            await awaited(kernels.shutdown_kernel(kernel_id, now=True))
            await again()

    async def why_not(self, manager: Any, trial: Trial) -> Optional[str]:
        """Wait for a kernel's first heartbeat; return why it does not come.

        None: it came, or is not known to fail.
        """
        try:
            await awaited(getattr(manager, "ready", None))  # it may start in the background
        except Exception:  # noqa: BLE001 - Jupyter has reported it
            return None
        watch = starting.StartOf(manager)
        heartbeat = starting.heartbeat_socket(manager)
        try:
            while not heartbeat.poll(0):
                if not await awaited(manager.is_alive()):
                    # A broken environment, not the encryption.
                    return None if trial.way == CURVE and trial.robust else "it ended"
                reason: Optional[str] = watch.failure()
                if reason is not None:
                    return reason
                if watch.seconds() > self.patience:
                    slow = "no heartbeat within %d s" % self.patience
                    return slow if trial.way == IPC and not trial.robust else None
                await gen.sleep(0.05)
        finally:
            heartbeat.close()
        self.failed.pop(trial.spec, None)
        self.remember(trial.spec, trial.way)
        return None

    def remember(self, key: str, way: str) -> None:
        """Remember a kernelspec's way, for later sessions too."""
        learned = {**read_memory(self.memory), key: way}
        self.learned[key] = way
        if not self.memory:
            return
        new = "%s.%d.new" % (self.memory, os.getpid())
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(dict(list(learned.items())[-MOST_LEARNED:]), file)
            os.replace(new, self.memory)
        except OSError as error:
            say("could not remember how kernels start: %s", error)


def install(transports: Transports, kernel_manager: Any, kernels: Any) -> None:
    """Let all kernels of this process start by `transports`.

    Args:
        transports: the session's.
        kernel_manager: Jupyter Client's class KernelManager.
        kernels: Jupyter Server's class MappingKernelManager.
    """
    initialise = kernel_manager.__init__
    start_kernel = kernels.start_kernel

    def initialise_with_way(self: Any, *arguments: Any, **options: Any) -> None:
        initialise(self, *arguments, **options)
        transports.prepare(self)

    async def start_and_settle(self: Any, *arguments: Any, **options: Any) -> Any:
        given = arguments[0] if arguments else options.pop("kernel_id", None)
        others = arguments[1:]
        if given is not None and given in self:
            return await awaited(start_kernel(self, *arguments, kernel_id=given, **options))

        def start(kernel_id: Any) -> Any:
            return awaited(start_kernel(self, *others, kernel_id=kernel_id, **options))

        kernel_id = await start(given)
        await transports.settle(self, kernel_id, lambda: start(kernel_id))
        return kernel_id

    kernel_manager.__init__ = initialise_with_way
    kernels.start_kernel = start_and_settle


def say(text: str, *words: Any) -> None:
    """Write a line to the job's log."""
    print("rps: " + text % words, file=sys.stderr, flush=True)


async def awaited(value: Any) -> Any:
    """Return a value; wait for it if that is needed (Jupyter's releases differ)."""
    return (await value) if hasattr(value, "__await__") else value


def digest(spec: Any) -> str:
    """Return a name for a kernelspec's content, where it is run by this Python."""
    content = json.dumps([sys.executable, spec.to_dict()], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def knows_ipc(argv: List[str]) -> Optional[bool]:
    """Return whether a kernel supports Unix sockets; None: not known."""
    program = os.path.basename(argv[0]) if argv else ""
    module = argv[argv.index("-m") + 1] if "-m" in argv[:-1] else ""
    if re.match(r"python[0-9.]*$", program) is None:
        module = ""
    if module in WITH_IPC or (program == "R" and "IRkernel::main()" in argv):
        return True
    return False if program in PROGRAMS_WITHOUT_IPC or module in WITHOUT_IPC else None


def declares_curve(metadata: Dict[str, Any]) -> bool:
    """Return whether a kernelspec says that its kernel supports CurveZMQ."""
    said = metadata.get("supported_encryption")
    return "curve" in (said if isinstance(said, list) else [said])


def is_of_a_gateway(manager: Any) -> bool:
    """Return whether a kernel runs elsewhere, at a Jupyter gateway."""
    gateway: Any = sys.modules.get("jupyter_server.gateway.managers")
    kind = getattr(gateway, "GatewayKernelManager", None)
    return kind is not None and isinstance(manager, kind)


def read_memory(path: str) -> Dict[str, str]:
    """Return what earlier sessions have learned: the ways, by kernelspec."""
    try:
        with open(path) as file:
            found = json.load(file)
        return {str(key): way for key, way in found.items() if way in (CURVE, IPC, TCP)}
    except (OSError, ValueError, AttributeError, RecursionError):  # none, or damaged: learned again
        return {}
