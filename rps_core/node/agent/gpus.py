"""Find out whether processes of this job compute on a GPU, by nvidia-smi and rocm-smi."""

import os
import re
import shutil
from typing import Any, Dict, List, Optional

from rps_core.node.agent.processes import descendants

# A row of nvidia-smi's processes: GPU, GI and CI (driver 450 and newer), PID, type, name, memory.
_NVIDIA_ROW = re.compile(
    r"\|\s+\d+(?:\s+(?:\d+|N/A)\s+(?:\d+|N/A))?\s+(\d+)\s+[CGM+]+\s.*?\s(\S+)\s*\|$"
).match
# Of rocm-smi's: PID, name, number of GPUs, bytes of memory, SDMA (a counter), occupied compute units.
_AMD_ROW = re.compile(r"(\d+)\s+\S.*?\s+\d+\s+(\w+)\s+(\w+)\s+(\w+)\s*$").match
_AMD_VARIABLES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")


class Gpus:
    """The job's GPUs, which its environment names, and what its processes use of them."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch
        self.used: Dict[int, str] = {}  # by a process at the look before: memory, and more with AMD

    def at_work(self) -> str:
        """Return what computes on them since the look before; empty: nothing."""
        return self.nvidia_at_work() or self.amd_at_work()

    def nvidia_at_work(self) -> str:
        """Return a GPU in use, or a process of the job whose use of one has changed."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if not re.match("[0-9A-Za-z,/-]+$", gpus) or gpus == "NoDevFiles":
            return ""
        busy = False
        if (
            "MIG-" not in gpus
        ):  # else a part of a GPU, which has no percentage and is no value of --id
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            said = self.watch.output_of(["nvidia-smi", "--id=" + gpus, *query])
            if said is None:
                return _no_answer("nvidia-smi")
            percents = said.split()
            if all(percent == "0" for percent in percents):
                return ""
            # `[N/A]`: the GPU is divided, and the job got its parts by the GPU's number.
            busy = any(percent.isdigit() and percent != "0" for percent in percents)
        table = self.watch.output_of(["nvidia-smi"])
        if table is None:
            return "a GPU computes" if busy else _no_answer("nvidia-smi")
        uses: Dict[int, str] = {}
        for pid, memory in _rows(_NVIDIA_ROW, table):
            uses[int(pid)] = uses.get(int(pid), "") + memory
        own = self.of_this_job(uses)
        if busy and (own or not uses or not all(map(_is_here, uses))):
            return "a GPU computes"
        return self.changed(own)

    def amd_at_work(self) -> str:
        """Return a process of the job that occupies compute units, or whose use has changed."""
        if not any(os.environ.get(variable) for variable in _AMD_VARIABLES):
            return ""
        said = self.watch.output_of(["rocm-smi", "--showpids"])
        if said is None:
            return _no_answer("rocm-smi")
        rows = {int(row[0]): row[1:] for row in _rows(_AMD_ROW, said)}
        own = self.of_this_job({pid: " ".join(row[:2]) for pid, row in rows.items()})
        for pid in own:
            if rows[pid][2] not in ("0", "UNKNOWN"):
                return "process %d computes on a GPU" % pid
        return self.changed(own)

    def of_this_job(self, uses: Dict[int, str]) -> Dict[int, str]:
        """Return those of processes below this one."""
        own = descendants(os.getpid()) if uses else {}
        return {pid: use for pid, use in uses.items() if pid in own}

    def changed(self, uses: Dict[int, str]) -> str:
        """Compare with the look before, where the GPU does not say whether it computes.

        A process that computes without a change of its memory uses the CPU: CUDA and HIP wait actively.
        """
        before, self.used = self.used, uses
        for pid, use in uses.items():
            if before.get(pid) != use:
                return "process %d uses a GPU" % pid
        return ""


def _rows(pattern: Any, text: str) -> List[Any]:
    """Return the groups of each line that fits."""
    found: List[Optional[Any]] = [pattern(line.strip()) for line in text.split("\n")]
    return [match.groups() for match in found if match]


def _no_answer(program: str) -> str:
    """Return that a program does not answer; empty where this node has none."""
    return "" if shutil.which(program) is None else program + " does not answer"


def _is_here(pid: int) -> bool:
    """Return whether this host shows a process; a container's PIDs are not nvidia-smi's."""
    return os.path.isdir("/proc/%d" % pid)
