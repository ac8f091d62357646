"""The worst files through the command: status 2, one message, nothing written, within seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from softseg.cli import main as cli
from tests.support.config.bombs import BOMBS, NO_CONFIGS
from tests.support.config.fuzzing import beside_the_shipped, in_time
from tests.support.config.mutations import CONFIGS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms and pipes are not Windows'")

ROUND = ("billion laughs", "deep flow", "many numbers", "long key", "object", "UTF-16", "targets",
         "extends a long name", "a deep difference", "differences")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _beside_the_shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with beside_the_shipped(tmp_path_factory.mktemp("fuzz")):
        yield


@pytest.mark.parametrize("kind", ROUND)
def test_the_command_ends_with_status_2(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_bytes(BOMBS[kind][0])
    verb = "ablate" if "difference" in kind else "train"
    monkeypatch.setattr("sys.argv", ["softseg", verb, "x.yaml"])
    with pytest.raises(SystemExit) as ended, in_time():
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.err.startswith(f"error: {BOMBS[kind][1]}")
    assert said.out == ""
    assert not Path("runs").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*ROUND, *NO_CONFIGS])
def test_the_real_command_ends_with_status_2_within_seconds(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    if kind in NO_CONFIGS:
        NO_CONFIGS[kind][0](path)
    else:
        shutil.copytree(CONFIGS, tmp_path, dirs_exist_ok=True)
        path.write_bytes(BOMBS[kind][0])
    verb = "ablate" if "difference" in kind else "train"
    done = subprocess.run(
        [sys.executable, "-m", "softseg", verb, "x.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: x.yaml"), done.stderr
    assert "Traceback" not in done.stderr
