"""The `softseg` command in several processes, started as torchrun does, but faster."""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.connection import wait

import torch
import torch._dynamo  # what DistributedDataParallel imports otherwise, in each process
from torch.distributed import TCPStore

from softseg.cli import main as cli
from softseg.training.distributed import launch as together  # noqa: F401 - as above
from tests.support import project

CONTEXT = multiprocessing.get_context("forkserver")


def warm_up():
    """Start a server with all imports, from which processes are forked."""
    forkserver._forkserver._stop()
    CONTEXT.set_forkserver_preload(
        [__name__, "softseg.training.train", "tests.support.several_tiny"]
    )


@dataclass
class Ended:
    statuses: list[int]
    outputs: list[str]  # of each process, stdout and stderr


class Several:
    """Processes that share a store, which this process keeps as torchrun does."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def start(self, target, count, *arguments):
        self.store = TCPStore("localhost", 0, None, True, timedelta(seconds=60), False)
        self.processes = [
            CONTEXT.Process(
                target=_work, args=(target, rank, count, self.store.port, self.folder, *arguments)
            )
            for rank in range(count)
        ]
        for process in self.processes:
            process.start()

    def end(self, seconds=60):
        """Wait for all processes and terminate the others if one fails, as torchrun does."""
        left = list(self.processes)
        while left and wait([one.sentinel for one in left], timeout=seconds):
            if any(one.exitcode for one in self.processes):
                for one in left:
                    one.terminate()
            left = [one for one in left if one.is_alive()]
        self.kill()
        assert not left, "hung"
        outputs = [(self.folder / f"output-{n}").read_text() for n in range(len(self.processes))]
        return Ended([one.exitcode for one in self.processes], outputs)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.join()


class Commands(Several):
    """`softseg WORDS` in a small project."""

    def __init__(self, folder, axes=2):
        super().__init__(folder)
        project.make(folder, axes=axes)

    def begin(self, words, others=None):
        self.start(_command, 2, words, others or words)

    def run(self, words, others=None):
        """Run `words` in the first process and `others` (or `words`) in the second."""
        self.begin(words, others)
        return self.end()


def _work(target, rank, count, port, folder, *arguments):
    os.chdir(folder)
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    output = os.open(folder / f"output-{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    target(rank, *arguments)


def _command(rank, words, others):
    sys.argv = ["softseg", *(others if rank else words)]
    cli.main()


def command_without_memory(rank, words):
    """Run the command; in the second process, memory runs out in the second epoch."""
    from softseg.training import loop

    if rank:
        steps, train_step = iter(range(1000)), loop.train_step

        def failing_step(state, *rest):
            if state.epoch and next(steps) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return train_step(state, *rest)

        loop.train_step = failing_step
    _command(rank, words, words)
