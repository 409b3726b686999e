"""The table `apps`: its packaged rows, and what is wrong with a row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rps_core.config import apps, yaml_text
from rps_core.config.layers import Layer, packaged_layer
from rps_core.config.loading import merge_all
from rps_core.config.merge import merge
from rps_core.config.mistakes import Mistakes
from rps_core.config.packaged_apps import PACKAGED
from rps_core.config.settings import DEFAULTS, LoadedSettings, Overrides, Settings, packaged_texts
from rps_core.node.agent.protocol import is_app_name

DOCUMENT = Path(__file__).parents[4] / "docs" / "applications.md"


def loaded(given: dict[str, object]) -> tuple[LoadedSettings, list[str]]:
    mistakes = Mistakes()
    options = {f"apps.{name}": row for name, row in given.items()}
    found = merge_all(
        "generic", packaged_texts(None, None), {}, Overrides(options=options), mistakes
    )
    return found, list(mistakes._found)


def test_each_packaged_application_follows_the_rules() -> None:
    found, mistakes = loaded({name: dict(row) for name, row in PACKAGED.items()})
    assert mistakes == []
    assert set(apps.rows(found)) == set(PACKAGED)
    assert all(map(is_app_name, PACKAGED))
    assert all(row.title and row.command for row in apps.rows(found).values())


def test_jupyterlab_offers_no_packaged_application_for_a_python_alone() -> None:
    """Test the rows that need no arguments: what they name as programs is looked for on the node."""
    for name, row in PACKAGED.items():
        assert row.get("usage") or set(row["programs"]) - {"python3"}, name


def test_a_key_overrides_that_of_a_packaged_application() -> None:
    found, mistakes = loaded({"streamlit": {"timeout": 5}, "mine": {"command": ["x", "{port}"]}})
    assert mistakes == []
    table = apps.rows(found)
    assert table["streamlit"].timeout == 5
    assert table["streamlit"].command == tuple(PACKAGED["streamlit"]["command"])
    assert table["mine"].command == ("x", "{port}")
    assert list(table)[-1] == "mine"


def test_the_example_of_the_documents_is_valid_as_a_file() -> None:
    page = DOCUMENT.read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    text += "  shown: {command: ['{port}'], keeps_prefix: on}\n"
    table = apps.rows(_checked(yaml_text.parse(text, "my.yaml").values, Mistakes()))
    assert table["streamlit"].timeout == 300
    assert (table["shown"].keeps_prefix, table["viewer"].keeps_prefix) == (True, False)


def documented(section: str) -> dict[str, list[str]]:
    """Return the rows of the table in a section of docs/applications.md, by name."""
    lines = DOCUMENT.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:3] == "| `"
    ]
    return {name: cells[1:] for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}


def test_the_document_has_what_each_packaged_application_needs_and_where_it_listens() -> None:
    shown = documented("The packaged ones")
    assert set(shown) == {*PACKAGED, *apps.RESERVED}
    for name, row in apps.rows(loaded({})[0]).items():
        _, needs, reached = shown[name]
        listens = " ".join([*row.command, *row.environment.values()])
        assert ("Unix socket" in reached.partition(";")[0]) == ("{unix_socket}" in listens), name
        assert ("a port" in reached) == ("{port}" in listens), name
        assert ("token of its own" in reached) == ("{secret}" in " ".join(row.headers.values())), (
            name
        )
        for what in {*row.programs, *row.packages} - {"python3"}:
            assert f"`{what}`" in needs, name
        assert ("a file" in needs) == bool(row.usage and "file" in row.usage), name


def test_the_document_says_of_each_packaged_application_what_works() -> None:
    """Test that no row is missing: tests/applications hold the words of each."""
    assert set(documented("What works")) == set(PACKAGED) - {"command"}


GOOD = ["x", "{port}"]


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("mine", {"commands": GOOD}, "unknown key `apps.mine.commands`"),
        ("mine", {"title": "x"}, "`apps.mine.command` is missing"),
        ("mine", {"command": "x {port}"}, "`apps.mine.command` must be a list"),
        ("mine", {"command": ["x"]}, "has neither {port} nor {unix_socket}"),
        ("mine", {"command": [*GOOD, "{prot}"]}, "contains {prot}, which is no placeholder"),
        (
            "mine",
            {"command": [*GOOD, "--token={secret}"]},
            "which other users of the node would see",
        ),
        (
            "mine",
            {"command": ["x", "{port}", "-a{arguments}"]},
            "an argument of `command` by itself",
        ),
        ("mine", {"command": GOOD, "environment": {"A B": "x"}}, "not a variable's name"),
        ("mine", {"command": GOOD, "headers": {"A:": "x"}}, "not a header's name"),
        ("mine", {"command": GOOD, "environment": ["x"]}, "must be a mapping of names to texts"),
        ("mine", {"command": GOOD, "path": "/x?y"}, "a path below the application's"),
        ("mine", {"command": GOOD, "health": "x"}, "a path with a leading /"),
        ("mine", {"command": GOOD, "timeout": 0}, "1 to 3600 seconds"),
        ("mine", {"command": GOOD, "keeps_prefix": "maybe"}, "must be on or off"),
        ("mine", {"command": GOOD, "timeout": "soon"}, "must be a number"),
        ("mine", {"command": GOOD, "timeout": "nan"}, "1 to 3600 seconds"),
        ("my app", {"command": GOOD}, "`my app` is not a valid name"),
        ("../x", {"command": GOOD}, "`../x` is not a valid name"),
        ("Ä", {"command": GOOD}, "`Ä` is not a valid name"),
        ("lab", {"command": GOOD}, "is Jupyter's own"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(name: str, row: dict[str, object], words: str) -> None:
    mistakes = Mistakes()
    for _ in range(2):  # as for each cluster of `rps config --check`
        _checked({"apps": {name: row}}, mistakes)
    assert [text for text in mistakes._found if words in text and "my.yaml" in text], (
        mistakes._found
    )


def _checked(values: dict[str, Any], mistakes: Mistakes) -> LoadedSettings:
    layers = [packaged_layer("defaults", DEFAULTS), Layer("user", "my.yaml", values)]
    found = LoadedSettings(*merge(Settings, layers, mistakes=mistakes))
    apps.check_table(found, mistakes)
    return found
