from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from dfml.exceptions import SourceError
from dfml.sinks._files import FileSystem
from dfml.sinks._shipping import Shipped


class Adds:
    """A function with arrays of its own, in both orders."""

    def __init__(self):
        self.rows = np.arange(6.0).reshape(2, 3)
        self.columns = np.asfortranarray(self.rows)
        self.nothing = np.empty(0)

    def __call__(self, number):
        return number + self.rows.sum() + self.columns.sum() + self.nothing.sum()


def ship(folder):
    return pickle.dumps(Shipped(Adds(), str(folder), FileSystem()))


def test_what_is_called_here_is_not_written(tmp_path):
    assert Shipped(Adds(), str(tmp_path), FileSystem())(1) == 31
    assert os.listdir(tmp_path) == []


def test_it_arrives_as_it_was(tmp_path):
    pickled = ship(tmp_path)
    arrived = pickle.loads(pickled)

    assert len(pickled) < 500
    assert arrived(1) == 31
    assert arrived.columns.flags.f_contiguous
    arrived.rows += 1  # as estimators may


def test_it_is_written_once(tmp_path):
    shipped = Shipped(Adds(), str(tmp_path), FileSystem())

    assert pickle.dumps(shipped) == pickle.dumps(shipped)
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "not what was written"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "not what was"),
        (lambda content: content[:-1], "ends before its content"),
        (lambda content: pickle.dumps(print).ljust(len(content)), "not what was"),
    ],
)
def test_nothing_else_is_unpickled(tmp_path, damage, message):
    pickled = ship(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(OSError, match=message):
        pickle.loads(pickled)


def test_a_worker_without_the_folder_says_so(tmp_path):
    pickled = ship(tmp_path)
    (path,) = tmp_path.iterdir()
    path.unlink()

    with pytest.raises(SourceError, match="every worker shares"):
        pickle.loads(pickled)


def test_another_process_loads_it(tmp_path):
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(1))"
    pickled = pickle.dumps(Shipped(np.add, str(tmp_path), FileSystem()))
    done = subprocess.run(
        [sys.executable, "-c", program.replace("(1)", "(1, 2)")],
        input=pickled,
        capture_output=True,
        check=True,
    )

    assert done.stdout == b"3\n"
