"""The manual page: it has every command, and roff prints no warning."""

import click

from rps_core.cli import manpage as manual
from rps_core.cli.main import rps


def test_the_page_has_every_command_with_its_own_options() -> None:
    page = manual.page(rps)
    sections = {part.split(" [")[0].split("\n")[0]: part for part in page.split("\n.SS ")[1:]}
    assert set(sections) == {name for name, _ in manual._leaves(rps, "rps")}
    assert {
        "rps start",
        "rps again",
        "rps env",
        "rps env build",
        "rps proxy serve",
        "rps proxy engine check",
    } <= set(sections)
    start = sections["rps start"]
    for parameter in rps.commands["start"].params:
        if isinstance(parameter, click.Option) and parameter.name not in ("cluster", "assignments"):
            flag = max(parameter.opts, key=len).replace("-", "\\-")
            assert flag in start or flag in page.partition(".SH EXAMPLES")[0], flag
    assert "\\-\\-refresh" not in page  # hidden
