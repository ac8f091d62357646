"""The command rejects harmful files: status 2, one message, nothing written, within seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from softseg.cli import main as cli
from tests.support.config.bombs import BOMBS, NO_CONFIGS
from tests.support.config.fuzzing import in_shipped_configs, time_limit
from tests.support.config.mutations import CONFIGS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")

SELECTED = (
    "billion laughs", "deep flow", "many numbers", "long key", "object", "UTF-16", "targets",
    "extends a long name", "a deep difference", "differences",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _shipped_configs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with in_shipped_configs(tmp_path_factory.mktemp("fuzz")):
        yield


@pytest.mark.parametrize("kind", SELECTED)
def test_the_command_rejects_a_harmful_file(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.yaml").write_bytes(BOMBS[kind][0])
    command = "ablate" if "difference" in kind else "train"
    monkeypatch.setattr("sys.argv", ["softseg", command, "x.yaml"])
    with pytest.raises(SystemExit) as ended, time_limit():
        cli.main()
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.err.startswith(f"error: {BOMBS[kind][1]}")
    assert captured.out == ""
    assert not Path("runs").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SELECTED, *NO_CONFIGS])
def test_the_command_in_its_own_process_rejects_a_harmful_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    if kind in NO_CONFIGS:
        NO_CONFIGS[kind][0](path)
    else:
        shutil.copytree(CONFIGS, tmp_path, dirs_exist_ok=True)
        path.write_bytes(BOMBS[kind][0])
    command = "ablate" if "difference" in kind else "train"
    done = subprocess.run(
        [sys.executable, "-m", "softseg", command, "x.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: x.yaml"), done.stderr
    assert "Traceback" not in done.stderr
