"""The advice of `rps proxy engine` where the engine gives no verdict."""

from pathlib import Path

import pytest

from rps_core.errors import SchedulerError, ServiceError
from rps_core.system import shell
from rps_core.system.shell import Finished
from rps_proxy.cli.engine import check_engine
from rps_proxy.engines.apache import configuration as apache
from rps_proxy.engines.haproxy import configuration as haproxy
from rps_proxy.settings.loading import load


@pytest.mark.parametrize(("kind", "file"), [("haproxy", haproxy.CONFIG), ("apache", apache.CONFIG)])
@pytest.mark.parametrize(("hangs", "advice"), [(True, "try again"), (False, "Install ")])
def test_an_engine_that_hangs_need_not_be_installed(
    kind: str, file: str, hangs: bool, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).touch()

    def run(*argv: str) -> Finished:
        raise SchedulerError(f"`{argv[0]}` gave no verdict", transient=hangs)

    monkeypatch.setattr(shell, "run", run)
    settings = load(Path("/dev/null"), [f"engine={kind}", f"engine_directory={tmp_path}"])
    with pytest.raises(ServiceError, match="gave no verdict") as error:
        check_engine(settings)
    assert advice in str(error.value.hint)
