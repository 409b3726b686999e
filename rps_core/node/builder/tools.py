"""The commands of uv, pip, conda, micromamba and pixi that build an environment."""

import glob
import os
import re
import shutil
from typing import Dict, List, Optional

from rps_core.node.agent.files import write_secret
from rps_core.node.builder.cache import work_of
from rps_core.node.builder.failure import BuildError
from rps_core.node.builder.recipe import VENVS, Recipe

# Of an environment that is active in the shell: they would lead a tool, or the new Python, to that one.
# Those of pixi are options: up to 0.40 it refuses --locked beside PIXI_FROZEN, and `pixi add` does nothing.
OF_ANOTHER = (
    "CONDA_DEFAULT_ENV", "CONDA_PREFIX", "CONDA_SHLVL", "PIP_PREFIX", "PIP_TARGET", "PIXI_FROZEN",
    "PIXI_LOCKED", "PIXI_NO_INSTALL", "PYTHONHOME", "PYTHONPATH", "UV_PREFIX", "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON", "UV_TARGET", "VIRTUAL_ENV",
)  # fmt: skip
_KERNELS = os.path.join("share", "jupyter", "kernels")
_CHECK = "import ipykernel, sys; print('%d.%d.%d' % sys.version_info[:3])"


class Step:
    """A command. `words` says what it does; `directory` is where it runs."""

    def __init__(self, words: str, command: List[str], directory: Optional[str] = None) -> None:
        self.words = words
        self.command = command
        self.directory = directory


def program(recipe: Recipe) -> str:
    """Return the path of the recipe's tool on this node (BuildError: it is not there)."""
    name = os.path.basename(recipe.tool)
    path = shutil.which(recipe.tool) or (shutil.which(name) if recipe.family != "pip" else None)
    if path is None and recipe.family == "pip":
        path = shutil.which("python3")
    if path is None:
        raise BuildError(
            "there is no program `%s` on this node" % name,
            advice="Load the module that has it, or have the environment built on the login node.",
        )
    return path


def environment(prefix: str, before: Dict[str, str]) -> Dict[str, str]:
    """Return the environment variables of the commands, from those of this process."""
    found = {name: value for name, value in before.items() if name not in OF_ANOTHER}
    found.update(
        PIP_USER="0",  # a user's pip.conf may say otherwise
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        UV_NO_PROGRESS="1",
        UV_PROJECT_ENVIRONMENT=prefix,
        PYTHONNOUSERSITE="1",
        NO_COLOR="1",
        # `conda env create` has no --yes before 23.9; that of mamba has it, and asks.
        CONDA_ALWAYS_YES="true",
        MAMBA_ALWAYS_YES="true",
        CONDA_REGISTER_ENVS="false",  # the cache is none of the user's list of environments
    )
    found.setdefault("UV_COMPILE_BYTECODE", "1")  # once, and not at the start of each kernel
    return found


def below(recipe: Recipe) -> str:
    """Return where in its tree the prefix is."""
    return os.path.join(".pixi", "envs", "default") if recipe.family == "pixi" else ""


def prefix_in(recipe: Recipe, tree: str) -> str:
    """Return the prefix that is built in a tree."""
    return os.path.join(tree, below(recipe)) if below(recipe) else tree


def steps(recipe: Recipe, tool: str, tree: str) -> List[Step]:
    """Return the commands that install what the recipe names, below `tree`.

    Raises:
        OSError: a file for a command cannot be written.
    """
    listed = _listed(recipe, tree)
    file, directory = str(recipe.file), recipe.directory
    if recipe.family == "uv" and recipe.kind == "uv-lock":
        python = _python(recipe)
        command = [tool, "sync", "--locked", *python, "--project", str(directory)]
        return [Step("install what uv.lock has", command, directory)]
    if recipe.family == "uv":
        make = [tool, "venv", *_python(recipe), tree]
        install = [tool, "pip", "install", "--python", python_of(tree), *listed]
        return [Step("make a venv", make, directory), Step("install", install, directory)]
    if recipe.family == "pip":
        install = [python_of(tree), "-m", "pip", "install", "--progress-bar", "off", *listed]
        return [
            Step("make a venv", [tool, "-m", "venv", tree]),
            Step("install", install, directory),
        ]
    if recipe.family == "pixi":
        os.mkdir(tree, 0o700)
        for name in ("pixi.toml", "pyproject.toml", "pixi.lock"):
            source = os.path.join(str(directory), name)
            if os.path.isfile(source):
                shutil.copy(source, tree)
        # With the user's setting the environment would be elsewhere, and no cleaning would reach it.
        os.mkdir(os.path.join(tree, ".pixi"))
        with open(os.path.join(tree, ".pixi", "config.toml"), "w") as config:
            config.write("detached-environments = false\n")
        return [Step("install what pixi.lock has", [tool, "install", "--locked"], tree)]
    create = (
        [tool, "create"]
        if recipe.family == "micromamba" or recipe.kind == "explicit"
        else [tool, "env", "create"]
    )
    yes = ["--yes"] if create[1] == "create" else []
    command = [*create, *yes, "--prefix", tree, "--file", file]
    return [Step("install what %s names" % os.path.basename(file), command, directory)]


def kernel_steps(recipe: Recipe, tool: str, tree: str) -> List[Step]:
    """Return the commands that add a kernel where there is none; versions that are there stay."""
    prefix = prefix_in(recipe, tree)
    if has_kernel(prefix):
        return []
    if recipe.family in ("uv", "pip"):
        versions = os.path.join(work_of(tree), "versions.txt")
        write_secret(versions, "".join(_installed(prefix)).encode())
        constraints = ["--constraint", versions, "ipykernel"]
        command = [python_of(prefix), "-m", "pip", "install", "--progress-bar", "off", *constraints]
        if recipe.family == "uv":
            command = [tool, "pip", "install", "--python", python_of(prefix), *constraints]
        return [Step("add ipykernel", command)]
    if recipe.family == "pixi":
        raise BuildError(
            "the environment has no kernel", advice="Add one to the project: pixi add ipykernel"
        )
    command = [tool, "install", "--yes", "--prefix", prefix, "--channel", "conda-forge"]
    return [Step("add ipykernel", [*command, "--freeze-installed", "ipykernel"])]


def check_step(prefix: str) -> Optional[Step]:
    """Return the command that prints the release of an environment's Python; None: it has another kernel."""
    if not os.path.lexists(python_of(prefix)) or not site_packages(prefix, "ipykernel"):
        return None
    return Step("check", [python_of(prefix), "-I", "-c", _CHECK])


def has_kernel(prefix: str) -> bool:
    """Return whether a prefix has ipykernel or another kernel."""
    return bool(site_packages(prefix, "ipykernel")) or bool(
        glob.glob(os.path.join(glob.escape(prefix), _KERNELS, "*", "kernel.json"))
    )


def site_packages(prefix: str, name: str) -> List[str]:
    """Return the places of a package below a prefix."""
    return glob.glob(os.path.join(glob.escape(prefix), "lib", "python3*", "site-packages", name))


def python_of(prefix: str) -> str:
    """Return the path of a prefix's Python."""
    return os.path.join(prefix, "bin", "python")


def _python(recipe: Recipe) -> List[str]:
    """Return uv's option for the interpreter; a node without it finds one of that release."""
    if recipe.python is None:
        return []
    if os.access(recipe.python, os.X_OK):
        return ["--python", recipe.python]
    return ["--python", str(recipe.version)]


def _listed(recipe: Recipe, tree: str) -> List[str]:
    """Return the installers' options for the recipe's file and packages.

    A package may have a URL with a password, so that packages are in a file and not in the arguments.
    """
    if recipe.kind not in VENVS:
        return []
    lines = list(recipe.packages)
    options: List[str] = []
    if (recipe.kind == "requirements" and recipe.file) or recipe.kind == "pylock":
        options = ["--requirement", str(recipe.file)]
    if recipe.editable:
        options += ["--editable", str(recipe.directory)]
    if lines:
        named = os.path.join(work_of(tree), "packages.txt")
        write_secret(named, "".join(line + "\n" for line in lines).encode())
        options += ["--requirement", named]
    return options


def _installed(prefix: str) -> List[str]:
    """Return a line NAME==VERSION for each distribution that is installed."""
    found = []
    for place in site_packages(prefix, "*.dist-info"):
        name, _, version = os.path.basename(place)[: -len(".dist-info")].rpartition("-")
        if re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*$", name) and re.match(
            r"[A-Za-z0-9.!+_]+$", version
        ):
            found.append("%s==%s\n" % (name, version))
    return sorted(found)
