"""Draw the packages and their imports into docs/architecture.md: `make docs`.

The rows are the floors of the import contracts in pyproject.toml. A row may import rows below it only, which
`make lint` checks; the arrows are what is imported, without those that follow from others.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs/architecture.md"
PROGRAMS = {"rps_core": "The launcher's floors", "rps_proxy": "The service's floors"}
Imports = Mapping[str, frozenset[str]]


def floors(program: str) -> list[list[str]]:
    """Return a program's layers from its import contract, the highest first."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    contract = next(each for each in contracts if each["name"] == PROGRAMS[program])
    return [
        sorted(name.strip() for name in row.replace(":", "|").split("|"))
        for row in contract["layers"]
    ]


def imports_between(program: str, packages: Iterable[str], graph: grimp.ImportGraph) -> Imports:
    """Return which of these packages each of them imports."""
    names = sorted(packages)
    return {
        name: frozenset(
            other
            for other in names
            if other != name
            and graph.direct_import_exists(
                importer=f"{program}.{name}", imported=f"{program}.{other}", as_packages=True
            )
        )
        for name in names
    }


def without_implied(imports: Imports) -> Imports:
    """Leave out the imports that follow from others (the transitive reduction).

    Raises:
        ValueError: there is a circle, which the import contracts forbid.
    """

    def reached(name: str, path: tuple[str, ...]) -> set[str]:
        if name in path:
            raise ValueError(f"a circle of imports: {' -> '.join((*path, name))}")
        return {
            found for below in imports[name] for found in (below, *reached(below, (*path, name)))
        }

    below = {name: reached(name, ()) for name in imports}
    return {
        name: frozenset(
            other for other in found if not any(other in below[between] for between in found)
        )
        for name, found in imports.items()
    }


def purpose(program: str, name: str) -> str:
    """Return the first line of a package's or module's docstring.

    Raises:
        ValueError: it has none.
    """
    place = PROJECT / program / name
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    found = ast.get_docstring(ast.parse(source.read_text("utf-8")))
    if not found:
        raise ValueError(f"{source.relative_to(PROJECT)} has no docstring")
    return found.splitlines()[0]


def picture(program: str, graph: grimp.ImportGraph) -> str:
    """Draw a program's packages: a diagram of the imports, and a table of the floors."""
    rows = floors(program)
    imports = without_implied(
        imports_between(program, (name for row in rows for name in row), graph)
    )
    lines = ["```mermaid", "flowchart TD"]
    for number, row in enumerate(rows):
        lines += [f'  subgraph floor{number}[" "]', "    direction LR"]
        lines += [f"    {name}" for name in row]
        lines += ["  end"]
    lines += [
        f"  {name} --> {other}" for name in sorted(imports) for other in sorted(imports[name])
    ]
    lines += ["```", "", f"| `{program}/` | what | imports, next below |", "| --- | --- | --- |"]
    for row in rows:
        for name in row:
            below = ", ".join(sorted(imports[name])) or "-"
            folder = "/" if (PROJECT / program / name).is_dir() else ".py"
            lines.append(f"| `{name}{folder}` | {purpose(program, name)} | {below} |")
    return "\n".join(lines)


def page() -> str:
    """Return docs/architecture.md with the pictures as the code has them now."""
    text = PAGE.read_text("utf-8")
    graph = grimp.build_graph(*PROGRAMS, cache_dir=None)
    for program in PROGRAMS:
        begin, end = f"<!-- packages: {program} -->\n", f"\n<!-- end: {program} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{picture(program, graph)}{end}{after}"
    return text


if __name__ == "__main__":
    sys.path[:0] = [str(PROJECT)]
    PAGE.write_text(page(), encoding="utf-8")
