"""The kernel of an environment, as a kernelspec for one session."""

import json
import venv
from pathlib import Path

import pytest

from rps_core.environment import kernel
from rps_core.environment.prefix import Prefix, read


def environment(path: Path) -> Prefix:
    venv.create(path, symlinks=True)
    return read(path, "--venv")


def with_spec(found: Prefix, name: str, spec: object) -> None:
    place = found.path / "share" / "jupyter" / "kernels" / name
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))


def test_ipykernel_runs_with_the_python_of_its_environment(tmp_path: Path) -> None:
    found = environment(tmp_path / "a $b" / ".venv")
    assert kernel.first(found, "proj") is None
    (found.packages[0] / "ipykernel_launcher.py").touch()
    offered = kernel.first(found, "Über proj")
    assert offered is not None
    assert offered.name == "python3"  # existing notebooks name it so
    assert offered.display_name.startswith("Über proj (Python 3.")
    assert offered.argv == (
        str(found.python),
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    )
    # jupyter_client replaces $NAME in the values.
    assert offered.env["PATH"] == f"{tmp_path}/a $$b/.venv/bin:${{PATH}}"
    assert offered.env["VIRTUAL_ENV"] == f"{tmp_path}/a $$b/.venv"


def test_another_kernel_is_run_by_its_path(tmp_path: Path) -> None:
    """Test kernelspecs whose program is a name: jupyter_client would look for it on the server's PATH."""
    found = environment(tmp_path / "v")
    with_spec(
        found,
        "ir",
        {"argv": ["R", "--args", "{connection_file}"], "display_name": "R", "language": "R"},
    )
    assert kernel.first(found, "stats") is None  # its R is not there
    (found.path / "bin" / "R").touch(0o755)
    offered = kernel.first(found, "stats")
    assert offered is not None
    assert offered.argv[0] == f"{found.path}/bin/R"
    assert (offered.name, offered.display_name, offered.language) == (
        "ir",
        "stats (R)",
        "R",
    )
    assert offered.also == (f"{found.path}/share/jupyter",)


def test_the_python_of_a_kernelspec_is_the_environments(tmp_path: Path) -> None:
    found = environment(tmp_path / "v")
    argv = ["python", "-m", "bash_kernel", "-f", "{connection_file}", "{resource_dir}/x"]
    with_spec(found, "bash", {"argv": argv, "env": {"PS1": "$"}, "display_name": "Bash"})
    offered = kernel.first(found, "v")
    assert offered is not None
    assert offered.argv[0] == str(found.python)
    assert offered.argv[-1] == f"{found.path}/share/jupyter/kernels/bash/x"
    assert offered.env["PS1"] == "$"


@pytest.mark.parametrize("spec", ["{", "[]", '{"argv": []}', '{"argv": "R"}', "[" * 100000])
def test_a_damaged_kernelspec_is_no_kernel(tmp_path: Path, spec: str) -> None:
    found = environment(tmp_path / "v")
    with_spec(found, "ir", spec)
    assert kernel.first(found, "v") is None


def test_a_kernel_whose_name_no_jupyter_takes_is_left_out(tmp_path: Path) -> None:
    found = environment(tmp_path / "v")
    with_spec(found, "a b", {"argv": ["python"]})
    assert kernel.first(found, "v") is None
