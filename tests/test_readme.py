"""The README's program runs as it stands, and its shell commands too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's with pandas 3.1
def test_program_and_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = "\n".join(blocks("python"))
    exec(compile(program + "\ncon.close()", "README.md", "exec"), {})
    (commands,) = [block for block in blocks("console") if "$ dfml fit" in block]
    folder = Path(sys.executable).parent
    for command in commands.replace("\\\n", "").split("$ ")[1:]:
        # The tables of the program are there: lake/ and warehouse.duckdb.
        command = command.strip()
        done = subprocess.run(
            f"{folder}/{command}",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
