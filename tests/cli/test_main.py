from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest

import dfml
from dfml.cli import main
from dfml.cli._status import Status
from dfml.exceptions import DfmlWarning

# dask reads Parquet by a call that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

COMMANDS = ["demo", "fit", "inspect", "predict", "score"]


def shell(*args):
    program = "from dfml.cli import main; main(prog_name='dfml')"
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_commands():
    assert sorted(main.commands) == COMMANDS


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_ends_with_examples(run, command):
    result = run(*command, "--help")

    assert result.exit_code == 0
    _, _, examples = result.stdout.partition("Examples:\n")
    assert examples.strip().startswith(f"dfml {' '.join(command)}".strip())
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_version(run):
    assert run("--version").stdout == f"dfml, version {dfml.__version__}\n"


def test_unknown_command(run):
    result = run("train")

    assert result.exit_code == 2
    assert result.stdout == ""


def test_streams_and_exit_codes_of_the_process(model, lake, tmp_path):
    done = shell("inspect", model, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["target"] == "late"
    assert done.stderr == ""

    target = tmp_path / "target"
    failed = shell("predict", model, "nothing", target, "--json")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("Error: ")

    debug = shell("predict", model, "nothing", target, "--debug")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr

    assert shell("predict", model).returncode == 2


def test_notes_are_shown(run, model, monkeypatch):
    def fail(path):
        error = ValueError("the message")
        error.add_note("the note")
        raise error

    monkeypatch.setattr("dfml.cli._inspect.inspect_model", fail)

    result = run("inspect", model)

    assert result.exit_code == 1
    assert result.stderr == "Error: the message\nthe note\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [(KeyError("x"), "KeyError: 'x'"), (MemoryError(), "MemoryError")],
)
def test_errors_without_a_sentence(run, model, monkeypatch, error, text):
    def fail(path):
        raise error

    monkeypatch.setattr("dfml.cli._inspect.inspect_model", fail)

    assert run("inspect", model).stderr == f"Error: {text}\n"


def test_warnings_are_one_line_on_stderr(run, model, monkeypatch):
    def warn(path):
        warnings.warn("look here", DfmlWarning, stacklevel=1)
        return dfml.models.inspect_model(path)

    monkeypatch.setattr("dfml.cli._inspect.inspect_model", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("inspect", model, "--json")

    assert result.stderr == "Warning: look here\n"
    json.loads(result.stdout)


def test_status_is_silent_where_there_is_no_terminal(capsys):
    with Status("working") as status:
        status.count(1, 4)

    assert capsys.readouterr() == ("", "")


def test_status_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("dfml.cli._status.INTERVAL", 0.001)

    with Status("working") as status:
        status.count(1, 4)
        while "25%" not in capsys.readouterr().err:
            pass

    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\r\x1b[K")
