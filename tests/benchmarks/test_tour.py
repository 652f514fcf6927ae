"""The tour: its help at once, the whole walk, and its cells as a notebook."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def tour(*words, timeout):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.tour", *words], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def test_help_runs_nothing(tmp_path):
    shown = tour("--help", timeout=60)
    assert shown.returncode == 0
    assert "python -m benchmarks.tour DIR" in shown.stdout
    assert not shown.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_walk_ends_with_reports_and_a_picture(tmp_path):
    walk = tour(str(tmp_path), timeout=1700)
    assert walk.returncode == 0, walk.stderr[-2000:]
    commands = [line.split()[3] for line in walk.stdout.splitlines() if line.startswith("$ ")]
    assert commands == ["benchmarks.transfer", "benchmarks.probe", "benchmarks.explore"]
    for file in ("transfer/report.html", "transfer/probe.csv", "explore/report.html", "explore/explore.csv"):
        assert (tmp_path / file).stat().st_size > 100
    picture = np.asarray(Image.open(tmp_path / "tour.png"))
    assert picture.shape[1:] == (1200, 3)
    assert picture.shape[0] > 1000  # both
    assert picture.std() > 10


@pytest.mark.slow
def test_its_cells_make_a_notebook(tmp_path):
    for package in ("marimo", "jupytext"):
        pytest.importorskip(package)
    notebook = tmp_path / "notebook.py"
    words = ["marimo", "convert", "benchmarks/tour.py", "-o", str(notebook)]
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, timeout=250, capture_output=True)
    text = notebook.read_text()
    assert text.count("@app.cell") + text.count("@app.function") >= 6
    assert "_unparsable_cell" not in text
    compile(text, str(notebook), "exec")
