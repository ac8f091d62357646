"""An ablation on a Ray cluster of two nodes, one of which dies during the runs."""

from __future__ import annotations

import time

import pytest

from softseg.runs.folder import Run, is_done, read_history
from tests.support import project
from tests.support.ablation_project import RUNS, make

ray = pytest.importorskip("ray", reason="needs the extra `cluster`")


@pytest.fixture
def cluster(monkeypatch):
    """A cluster on this host to which a second node can be added; one run per node."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # without it, other load starves the workers
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield cluster
    cluster.shutdown()


def running(folder):
    """Return the runs that have completed some epochs and are not done."""
    roots = [folder / "runs/both" / run for run in RUNS]
    return [
        run
        for run, root in zip(RUNS, roots, strict=True)
        if len(read_history(root)) >= 3 and not is_done(Run(root))
    ]


@pytest.mark.slow
def test_a_node_that_dies_loses_no_run(cluster, tmp_path):
    node = cluster.add_node(num_cpus=1)
    folder = make(tmp_path, "trainer: {max_epochs: 100, early_stopping: null}\n")
    words = ("--splits", "1", "--cluster", cluster.address)
    process = project.start(folder, "ablate", "both.yaml", *words)
    deadline = time.monotonic() + 120
    while len(running(folder)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    on_both = running(folder)
    cluster.remove_node(node, allow_graceful=False)  # a power cut
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, out + err
    assert len(on_both) == 2
    root = folder / "runs/both"
    for run in RUNS[:2]:
        assert out.count(f"{run}: gm test Dice") == 1
        assert is_done(Run(root / run))
        assert len(read_history(root / run)) == 100
    # one run was started twice, the second time from its last epoch
    resumed = [
        run for run in RUNS[:2] if "resuming with epoch" in (root / f"{run}.log").read_text()
    ]
    assert len(resumed) == 1
    assert resumed[0] in on_both
    assert not list(folder.glob(".softseg-*"))


def test_an_address_without_a_cluster_is_reported(tmp_path):
    folder = make(tmp_path)
    status, _, err = project.run(folder, "ablate", "both.yaml", "--cluster", "127.0.0.1:1")
    assert status == 2
    assert err.startswith("error: --cluster 127.0.0.1:1: no Ray cluster answers")
    assert "Traceback" not in err
