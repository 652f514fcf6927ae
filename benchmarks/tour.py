"""A tour of the toolkit in about a minute: train and transfer, probe, explore, and look at what came out.

    python -m benchmarks.tour
    python -m benchmarks.tour DIR

Results go to runs/tour, or to DIR. The same file is a notebook: its cells begin with ``# %%``, as editors know them,
and ``marimo convert benchmarks/tour.py -o notebook.py`` makes one for marimo (extra ``notebook``).
"""

# %% Where everything goes
import importlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image

STARTED = Path(sys.argv[0]).stem == "tour"  # from a terminal: a notebook has arguments of its own
WORDS = sys.argv[1:] if STARTED else []
if {"-h", "--help"} & set(WORDS):
    print(__doc__)
    raise SystemExit(0)
OUT = Path(WORDS[0]) if WORDS else Path("runs/tour")


def run(module: str, *words: object) -> None:
    """Print a command line and run it here; a notebook could as well start it in a shell."""
    print(f"\n$ python -m {module} {' '.join(map(str, words))}\n", flush=True)
    if status := importlib.import_module(module).main([str(word) for word in words]):
        raise SystemExit(status)


# %% Train and transfer
# Two agents choose among sprites: one on the features of a VAE, pre-trained without reward, one trained end to end.
# Both are then evaluated on levels and looks that they have never seen. So few frames teach them little: the tables are
# those of a long run all the same.
transfer = OUT / "transfer"
run("benchmarks.transfer", "--suite", "sprites", "--repr", "vae", "--preset", "smoke", "--out", transfer)

# %% Probe
# How much of the scene's true factors a linear read-out finds in each representation, on training levels and others.
run("benchmarks.probe", transfer, "--frames", 512)

# %% Explore
# A bonus for what random features do not predict yet, beside first visits alone and no bonus, where reward is rare.
explore = OUT / "explore"
ladder = ("--suite", "minigrid-ladder", "--tasks", "doorkey-8x8")
run("benchmarks.explore", "--bonus", "rnd", *ladder, "--preset", "smoke", "--out", explore)


# %% Look
def stacked(files: list[Path], width: int = 1200) -> Image.Image:
    """Pictures below each other, each as wide as ``width``."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    scaled = [picture.resize((width, round(picture.height * width / picture.width))) for picture in pictures]
    return Image.fromarray(np.concatenate([np.asarray(picture) for picture in scaled]))


# What the agent meets, a row for each split; then a level, and where the bonus is high in it.
files = [
    *sorted(transfer.glob("runs/*-cnn-*/pictures/splits.png")),
    *sorted(explore.glob("runs/*-rnd-*/pictures/bonus.png")),
]
stacked(files).save(OUT / "tour.png")
print(f"\nreports: {transfer / 'report.html'}, {explore / 'report.html'}\npicture: {OUT / 'tour.png'}")
