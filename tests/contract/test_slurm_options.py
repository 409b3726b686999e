"""Options are parsed as getopt_long(3) and the real sbatch parse them."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.schedulers.slurm import options
from rps_core.schedulers.slurm.options import full_names, parse

VERSIONS = options._VERSIONS
TABLES = {
    version: sorted(
        name for name in options._LONG if version in options._ONLY_IN.get(name, VERSIONS)
    )
    for version in VERSIONS
}


class LongOption(ctypes.Structure):
    """`struct option` of getopt.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("has_arg", ctypes.c_int),
        ("flag", ctypes.c_void_p),
        ("val", ctypes.c_int),
    )


def with_getopt(version: str, arguments: list[str]) -> list[tuple[str, str | None]]:
    """Return the options and their values, by the C library, up to the first that it refuses."""
    libc = ctypes.CDLL(None)
    names = TABLES[version]
    shorts = {long: ord(short) for short, long in options._SHORT.items()}
    values = {name: shorts.get(name, 1000 + index) for index, name in enumerate(names)}
    table = (LongOption * (len(names) + 1))(
        *(
            LongOption(name.encode(), int(name in options._WITH_ARGUMENT), None, values[name])
            for name in names
        )
    )
    string = "+" + "".join(
        letter + ("::" if letter == "k" else ":" if name in options._WITH_ARGUMENT else "")
        for letter, name in options._SHORT.items()
    )
    words = [b"sbatch", *(argument.encode() for argument in arguments)]
    argv = (ctypes.c_char_p * (len(words) + 1))(*words)
    ctypes.c_int.in_dll(libc, "optind").value = 0  # begin again (getopt(3))
    ctypes.c_int.in_dll(libc, "opterr").value = 0
    by_value = {value: name for name, value in values.items()}
    found: list[tuple[str, str | None]] = []
    while (value := libc.getopt_long(len(words), argv, string.encode(), table, None)) in by_value:
        argument = ctypes.c_char_p.in_dll(libc, "optarg").value
        found.append((by_value[value], None if argument is None else argument.decode()))
    return found


def written(names: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Long options, also shortened, and words of short ones."""
    long = st.builds(
        lambda name, length, value: f"--{name[:length]}{value}",
        names,
        st.integers(1, 20),
        st.sampled_from(["", "=1", "=", "=gpu:1"]),
    )
    short = st.lists(st.sampled_from([*options._SHORT, "1", "Z"]), min_size=1, max_size=3).map(
        lambda letters: "-" + "".join(letters)
    )
    return st.one_of(long, short, st.sampled_from(["1", "gpu:1", "--", "-"]))


@given(
    st.sampled_from(VERSIONS),
    st.lists(written(st.sampled_from(sorted(options._LONG))), max_size=5),
)
def test_what_sbatch_would_take_is_seen(version: str, arguments: list[str]) -> None:
    """Test abbreviations: `parse` returns all options that any version knows by one."""
    taken = with_getopt(version, arguments)
    found = [one for one in parse(arguments) if not one.is_cut]
    for (name, value), seen in zip(taken, found, strict=False):
        if len(seen.names) != 1:
            break  # what follows depends on the version
        if seen.names != (name,):
            assert name not in seen.names
            break  # an exact name of another version
        assert seen.value == value
    else:
        assert len(found) >= len(taken)


@pytest.mark.parametrize(
    ("given_name", "names"),
    [
        ("gres", ("gres",)),
        ("gre", ()),  # or --gres-flags: sbatch refuses it
        ("gpus-per-n", ("gpus-per-node",)),
        ("arr", ("array",)),
        ("exp", ("export",)),  # 23.11 has no --export-file
        ("res", ("reservation",)),  # 25.11 has --resources, too
        ("container-image", ()),  # of a SPANK plugin
        ("", ()),
    ],
)
def test_abbreviations(given_name: str, names: tuple[str, ...]) -> None:
    assert full_names(given_name) == names


def test_short_options_in_one_word() -> None:
    found = [
        (one.names, one.value, list(one.words)) for one in parse(["-HOG", "2", "-kH1", "-sw", "-J"])
    ]
    assert found == [
        (("hold",), None, [0]),
        (("overcommit",), None, [0]),
        (("gpus",), "2", [0, 1]),
        (("no-kill",), "H1", [2]),
        (("oversubscribe",), None, [3]),
        (("nodelist",), "-J", [3, 4]),
    ]


def test_an_argument_of_an_unknown_option_hides_nothing() -> None:
    found = parse(["--container-image", "x.sqsh", "--array=1-2"])
    assert [one.names for one in found] == [(), ("array",)]


# sbatch reads its options before it asks for anything; port 1 refuses.
CONFIGURATION = """\
ClusterName=x
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=1
AuthType=auth/none
NodeName=localhost
PartitionName=p Nodes=localhost
"""


def sbatch(arguments: list[str], directory: Path) -> list[str]:
    """Return the options as the real sbatch logs them; end it before it submits."""
    configuration = directory / "slurm.conf"
    configuration.write_text(CONFIGURATION)
    process = subprocess.Popen(
        ["sbatch", "-vvv", "--wrap=true", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SLURM_CONF": str(configuration)},
    )
    lines: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            if "end of defined options" in line:
                break
    finally:
        process.kill()
        process.communicate()
    return lines


needs_sbatch = pytest.mark.skipif(not shutil.which("sbatch"), reason="no sbatch")


@needs_sbatch
@pytest.mark.parametrize(
    "arguments",
    ["-HG2", "--arr 1-2 --hold", "-H --gpus-per-n 3", "-sOG2 -w n1", "--mem 5 --partit=p -J-x",
     "--comm -Hx", "-sp -H"],
)  # fmt: skip
def test_the_real_sbatch_reads_the_same(arguments: str, tmp_path: Path) -> None:
    lines = sbatch(shlex.split(arguments), tmp_path)
    shown = (re.fullmatch(r"sbatch: ([a-z-]+) +: .+", line) for line in lines)
    options_of_sbatch = {found[1] for found in shown if found} - {"verbose", "wrap"}
    parsed = parse(shlex.split(arguments))
    assert options_of_sbatch == {name for one in parsed for name in one.names}


@needs_sbatch
@pytest.mark.parametrize("argument", ["--gre=gpu:1", "--gr", "--no=1"])
def test_the_real_sbatch_refuses_what_is_ambiguous(argument: str, tmp_path: Path) -> None:
    assert "is ambiguous" in "".join(sbatch([argument], tmp_path))
    assert [one.names for one in parse([argument])] == [()]
