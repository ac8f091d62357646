"""Check whether softseg works on a GPU, and measure how fast it is there.

The most valuable checks come first; a failed check does not stop the others. The exit status is 1
if a check failed. `--cpu` walks through all checks without a GPU, with a small network.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from acceptance_command import ablations, interrupted_and_resumed, tests_marked_gpu
from acceptance_correct import (
    backward_is_profiled,
    every_name_trains,
    no_step_waits,
    samples_of_uncertainty,
    slices_from_host,
    soft_values,
)
from acceptance_memory import (
    estimated_memory,
    many_large_slices,
    prediction_halves_its_batch,
    slices_fall_back_to_host,
    training_reports_too_little_memory,
)
from acceptance_repeat import resumed_bits, same_bits
from acceptance_runner import Check, Runner
from acceptance_setup import Setup
from acceptance_speed import (
    COMPILED,
    EAGER,
    epoch_parts,
    epoch_ratio,
    hours_of_the_paper,
    several_narrow_trainings,
    step_checks,
    trainings_at_once,
    upsampling,
)
from acceptance_table import fill
from environment import ROOT

from softseg.runs.folder import timestamp
from softseg.runs.provenance import provenance

RESULTS = ROOT / "scripts" / "results" / "gpu"
SECONDS = 480.0
CHECKS = [
    Check("device-names", every_name_trains, 20),
    Check("no-waiting", no_step_waits, 10),
    Check("slices-from-host", slices_from_host),
    Check("soft-values", soft_values),
    *step_checks(["64-filters-batch-8"], EAGER),
    Check("epoch-over-bare-steps", epoch_ratio),
    Check("same-bits", same_bits, 20),
    Check("resumed-bits", resumed_bits, 20),
    Check("upsampling", upsampling),
    Check("epoch-parts", epoch_parts),
    Check("profile", backward_is_profiled),
    Check("samples", samples_of_uncertainty, 20),
    Check("memory/prediction", prediction_halves_its_batch, needs_gpu=True),
    Check("memory/training", training_reports_too_little_memory, needs_gpu=True),
    Check("memory/slices", slices_fall_back_to_host, needs_gpu=True),
    Check("memory/estimate", estimated_memory, needs_gpu=True),
    Check("memory/large-slices", many_large_slices, 15, needs_gpu=True),
    Check("command", interrupted_and_resumed, 70),
    Check("tests", tests_marked_gpu, 60, needs_gpu=True),
    Check("trainings-at-once/64-filters", trainings_at_once, 70),
    Check("hours-of-the-paper", hours_of_the_paper),
    Check("ablations", ablations, 40),
    *step_checks(["64-filters-batch-8"], COMPILED),
    *step_checks(["64-filters-batch-32", "8-filters-batch-8"], ["bf16", "float32"]),
    Check("trainings-at-once/8-filters", several_narrow_trainings, 70, needs_gpu=True),
    *step_checks(["8-filters-batch-8", "64-filters-batch-32"], ["bf16-cuda-graphs"]),
]


def main() -> int:
    """Returns the exit status."""
    options = _options()
    if options.fill is not None:
        print(f"filled the table in {fill(options.fill)}")
        return 0
    if not (options.cpu or torch.cuda.is_available()):
        print("there is no CUDA GPU; --cpu walks through the checks without one", file=sys.stderr)
        return 2
    device = "cpu" if options.cpu else "cuda:0"
    file = options.json
    if file is None and not options.cpu and options.only is None:
        file = RESULTS / f"{_file_name(device)}.json"
    resumed = options.resume and file is not None and file.exists()
    results = json.loads(file.read_text()) if resumed else _environment(device)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Setup(device, Path(folder)), file, options.seconds, results)
        return runner.run_all([check for check in CHECKS if check.is_selected(options.only)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [check.name for check in CHECKS]
    groups = [name.split("/")[0] for name in names]
    parser.add_argument("--cpu", action="store_true", help="use the CPU and a small network")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[*names, *groups],
        help=f"run these checks or groups: {', '.join(dict.fromkeys(groups))}",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="skip checks for which this is too short; with --resume, earlier runs count too",
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="the file of results (default: scripts/results/gpu/<device>.json; with --cpu or "
        "--only: none)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="run only checks that have no result in the file or were skipped",
    )
    parser.add_argument(
        "--fill",
        type=Path,
        metavar="JSON",
        help="only fill the table of the documentation from a file of results",
    )
    return parser.parse_args()


def _file_name(device: str) -> str:
    """The device's name in lower case, with hyphens: `nvidia-h200`."""
    return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")


def _environment(device: str) -> dict[str, Any]:
    """The device, versions, commit and date of the measurements."""
    environment = {"date": timestamp(), **provenance(torch.device(device))}
    if device == "cpu":
        return {"device": "CPU", **environment}
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name,
        "memory [GiB]": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        **environment,
    }


if __name__ == "__main__":
    sys.exit(main())
