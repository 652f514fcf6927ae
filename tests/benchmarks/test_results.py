"""Committed figures: every file is named in their README, and every file it names is there."""

import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_files_and_readme_name_each_other():
    text = (RESULTS / "README.md").read_text()
    linked = {name for name in re.findall(r"\]\(([\w.-]+)\)", text) if "/" not in name}
    assert linked == {path.name for path in RESULTS.iterdir()} - {"README.md"}


def test_csv_files_end_their_lines_in_lf_and_name_a_commit():
    for path in RESULTS.glob("*.csv"):
        data = path.read_bytes()
        assert b"\r" not in data, path
        header, *rows = data.decode().splitlines()
        assert rows, path
        assert "commit" in header.split(",") or path.name.startswith("neutrality"), (
            path
        )  # its name, or its README, has it
