"""Several processes of `jax.distributed`, on CPUs with gloo: each recovers its own signals.

One process with the same number of devices is an oracle, and so is a program without devices.
"""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import process_worker as worker
from helpers import assert_close
from oracles import omp

pytestmark = pytest.mark.slow
WORKER = Path(worker.__file__)


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def run(folder, num, tasks):
    """What each of so many processes wrote of each task."""
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(num), port, folder, ",".join(tasks)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(num)
    ]  # fmt: skip
    try:
        texts = [each.communicate(timeout=500)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    for each, text in zip(started, texts, strict=True):
        assert each.returncode == 0, text
    return {
        task: [dict(np.load(folder / f"{task}-{rank}.npz")) for rank in range(num)]
        for task in tasks
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """By one process with as many devices."""
    tasks = ["recover", "trained", "separate", "interrupted"]
    found = run(tmp_path_factory.mktemp("alone"), 1, tasks)
    return {task: of_processes[0] for task, of_processes in found.items()}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """By two processes, which share the devices among them."""
    tasks = ["recover", "trained", "resumed", "separate", "interrupted"]
    return run(tmp_path_factory.mktemp("two"), 2, tasks)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """By four of them."""
    return run(tmp_path_factory.mktemp("four"), 4, ["recover", "trained", "resumed"])


@pytest.fixture(params=["two", "four"])
def together(request):
    return request.getfixturevalue(request.param)


def test_each_process_recovers_its_own_signals(together, alone):
    found = together["recover"]
    for name, expected in alone["recover"].items():
        assert_close(np.concatenate([each[name] for each in found]), expected)
    oracle = [omp(worker.A, y, worker.K)[0] for y in worker.Y]
    assert_close(np.concatenate([each["gram"] for each in found]), np.array(oracle))


def test_training_together_is_training_alone(together, alone):
    expected = alone["trained"]
    assert expected["train_loss"][-1] < 0.95 * expected["train_loss"][0]
    for found in together["trained"]:
        for name in expected:
            assert_close(found[name], expected[name])


def test_every_process_resumes_from_a_checkpoint(together, alone):
    for found in together["resumed"]:
        assert found["epochs"].tolist() == [3, 4]  # The others were done.
        for name, expected in alone["trained"].items():
            assert_close(found[name], expected)


def test_a_checkpoint_of_another_number_of_processes_is_refused(tmp_path):
    run(tmp_path, 2, ["resumed"])
    for num in (1, 4):
        for found in run(tmp_path, num, ["refused"])["refused"]:
            said = f"got processes 2 instead of {num}; go on with as many as before, or choose"
            assert said in str(found["message"])


def test_a_process_may_train_by_itself(two, alone):
    for found in two["separate"]:
        assert_close(found["weights"], alone["separate"]["weights"])


def test_all_processes_end_when_one_is_told_to(two, alone):
    expected = alone["interrupted"]["train_loss"]
    assert len(expected) == 2
    for found in two["interrupted"]:
        assert_close(found["train_loss"], expected)
