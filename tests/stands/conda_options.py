"""What conda, mamba, micromamba and pixi take on their command lines; all else they refuse.

Written after these sources (repository@commit, file:lines):

- conda/conda@0f64223fb8 (26.7): conda/cli/main_env_create.py:76-120, main_create.py:79-105,
  main_install.py:81-118, helpers.py:84-130 (create, install), :171-197 (--prefix), :200-251
  (output), :266-346 (channels), :349-416, :419-470 (--freeze-installed), :484-580. A wrong option:
  argparse, exit code 2; an error: 1.
- mamba-org/mamba@03564bf487 (2.8.1; micromamba and mamba): micromamba/src/common_options.cpp:36-101
  (general), :104-132 (prefix), :135-177 (network), :180-258 (channels), :356-492 (install),
  create.cpp, install.cpp:15-45, env.cpp:39-44 (`env create` is `create`), main.cpp:186-232. An
  unknown option: CLI11, exit code 109; an error: 1.
- prefix-dev/pixi@2b25fc76dd: crates/pixi_cli/src/lib.rs:101-128 (all), :206-223 (--locked),
  cli_config.rs:29-45 (--manifest-path), :206-210, install.rs:37-73, add.rs:88-118,
  pixi_config/src/lib.rs:165-189, :689-751, pixi_core/src/workspace/workspace_mut.rs:528-532 (`add`
  installs only in a workspace with one environment), workspace/mod.rs:836-877 (detached
  environments), lock_file/update.rs:373. A wrong option: clap, 2; an error: 1.

The options that rps gives are also in conda 4.12 and 23.9, micromamba 0.25.1, 1.0.0 and 1.5.8, mamba
1.5.9, and pixi 0.30.0 and 0.40.0, by their sources.
"""

from __future__ import annotations

import argparse

# Flags by `/`; `=` takes a value, `=*` several.
_OUTPUT = " --json -q/--quiet -v/--verbose -d/--dry-run -y/--yes --debug --trace --console= "
_CONDA_INSTALL = (
    _OUTPUT
    + """
  -n/--name= -p/--prefix= -c/--channel= --use-local -O/--override-channels --repodata-fn= --no-lock
  --no-pin --force --strict-channel-priority --channel-priority --no-channel-priority --no-deps
  --only-deps --exclude-newer= --copy --shortcuts --no-shortcuts --shortcuts-only= --clobber
  -k/--insecure --offline --download-only --show-channel-urls -f/--file= --format= --solver=
"""
)
_MAMBA = """
  --rc-file= --no-rc --no-env -v/--verbose --log-level= -q/--quiet -y/--yes --json --offline
  --dry-run --download-only --use-uv -r/--root-prefix= -p/--prefix= --relocate-prefix= -n/--name=
  --ssl-verify= --ssl-no-revoke --cacert-path= --repodata-ttl= --retry-clean-cache -c/--channel=
  --override-channels --channel-priority= --channel-alias= --strict-channel-priority
  --no-channel-priority --skip-run-link-scripts --run-link-scripts -f/--file= --no-pin --pin
  --no-py-pin --py-pin --pyc --no-pyc --allow-uninstall --allow-downgrade --allow-softlinks
  --always-softlink --always-copy/--copy --lock-timeout= --shortcuts --no-shortcuts --safety-checks=
  --extra-safety-checks --verify-artifacts --trusted-channels= --platform= --no-deps --only-deps
  --category=
"""
_PIXI = """
  -v/--verbose -q/--quiet --color= --no-progress -m/--manifest-path= -w/--workspace= --frozen
  --locked --no-config --config-file= --auth-file= --concurrent-downloads= --concurrent-solves=
  --pinning-strategy= --pypi-keyring-provider= --run-post-link-scripts --no-symbolic-links
  --no-hard-links --no-ref-links --tls-no-verify --offline --tls-root-certs=
  --use-environment-activation-cache
"""
_CREATES = (
    " -n/--name= -p/--prefix= -k/--insecure --offline --format= --no-default-packages --solver= "
)
_INSTALLS = (
    " --revision= --prune --force-reinstall --update-deps --freeze-installed/--no-update-deps "
)
_ADDS = " --pypi -p/--platform= -f/--feature= -e/--environment= -g/--git= --no-install --editable "
OPTIONS = {
    ("conda", "env", "create"): _OUTPUT + _CREATES + "-f/--file=* --subdir/--platform=",
    ("conda", "create"): _CONDA_INSTALL
    + "--clone= --no-default-packages --subdir/--platform= --dev",
    ("conda", "install"): _CONDA_INSTALL + _INSTALLS + "--override-frozen --dev",
    ("mamba", "create"): _MAMBA + "--clone=",
    ("mamba", "env", "create"): _MAMBA,
    ("mamba", "install"): _MAMBA + "--freeze-installed --force-reinstall --revision=",
    ("pixi", "install"): _PIXI + "-e/--environment= -a/--all -p/--platform= --skip= --only=",
    ("pixi", "add"): _PIXI + _ADDS + "--index= -s/--script=",
}
# What each tool says of an option that it has not, and its exit code.
_UNKNOWN = {
    "conda": (2, "conda: error: unrecognized arguments: {}"),
    "mamba": (
        109,
        "The following argument was not expected: {}\nRun with --help for more information.",
    ),
    "pixi": (2, "error: unexpected argument '{}' found"),
}


def command_of(name: str, words: list[str]) -> tuple[str, ...] | None:
    """Return the command that these words begin with; None: the program has none of it."""
    family = "mamba" if name == "micromamba" else name
    return next((key for key in OPTIONS if key == (family, *words[: len(key) - 1])), None)


def parsed(command: tuple[str, ...], words: list[str]) -> argparse.Namespace | tuple[int, str]:
    """Return the options of a command; or an exit code, and what the tool says of one that it has not."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for option in OPTIONS[command].split():
        names, value, many = option.partition("=")
        flags = names.split("/")
        dest = flags[-1].lstrip("-").replace("-", "_")
        if not value:
            parser.add_argument(*flags, dest=dest, action="store_true")
        elif many:
            parser.add_argument(*flags, dest=dest, nargs="*", action="extend", default=[])
        else:
            parser.add_argument(*flags, dest=dest, action="append", default=[])
    if command not in (("conda", "env", "create"), ("pixi", "install")):
        parser.add_argument("specs", nargs="*")
    given, unknown = parser.parse_known_args(words)
    if unknown:
        code, text = _UNKNOWN[command[0]]
        return code, text.format(unknown[0])
    return given
