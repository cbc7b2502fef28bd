"""File systems that fail, or die, at one call."""

from __future__ import annotations

import errno
import os

from dfml.sinks._files import FileSystem


class Failure(OSError):
    """Comes from the test and from nowhere else."""


class Dying(FileSystem):
    """Fails at one call, and at all calls after it if the process has died.

    A commit of another library is two calls: one before it, and one after it has
    succeeded, whose answer is lost.
    """

    def __init__(self, at=None, *, dies=True, swaps=True):
        self.n_calls, self.at, self.dies, self.swaps = 0, at, dies, swaps

    def count(self):
        self.n_calls += 1
        if self.at is None:
            return
        if self.n_calls == self.at or (self.dies and self.n_calls > self.at):
            self.fail()

    def fail(self):
        raise Failure(errno.EIO, f"call {self.n_calls}")

    def create(self, path):
        self.count()
        return _File(super().create(path), self)

    def exchange(self, left, right):
        self.count()
        return self.swaps and super().exchange(left, right)

    def perform(self, commit):
        self.count()
        done = super().perform(commit)
        self.count()
        return done


class Killed(Dying):
    """Ends the process at one call, without any goodbye."""

    def fail(self):
        os._exit(9)


class _File:
    def __init__(self, file, files):
        self.file, self.files = file, files

    def write(self, content):
        self.files.count()
        return self.file.write(content)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def _counted(name):
    def call(self, *args, **options):
        self.count()
        return getattr(FileSystem, name)(self, *args, **options)

    return call


for _name in (
    "exists",
    "imitate",
    "make_folder",
    "read",
    "remove",
    "remove_empty",
    "rename",
    "replace",
    "sizes",
    "sync",
    "sync_folder",
    "tree",
):
    setattr(Dying, _name, _counted(_name))
