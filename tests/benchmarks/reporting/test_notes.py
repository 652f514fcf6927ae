"""Sentences that say how the numbers are to be read."""

from benchmarks.reporting.cells import summarise
from benchmarks.reporting.notes import notes
from benchmarks.reporting.runs import load
from tests.benchmarks.tools import make_run


def test_notes_say_what_a_representation_was_pretrained_on(tmp_path):
    make_run(tmp_path, "cnn")
    make_run(tmp_path, "darla", pretrain_on="all", pretrain_frames=32_768)
    make_run(tmp_path, "vae")
    make_run(tmp_path, "random", pretrain_frames=4096, pretrain_samples=0)  # for the scale of its features alone
    sentences = [note for note in notes(summarise(load(tmp_path))) if "pre-trained" in note]
    assert sorted(sentences) == [
        "darla: pre-trained on 32,768 frames of a random policy, without reward, from every visual variant of the "
        "training levels.",
        "vae: pre-trained on 512 frames of a random policy, without reward, from the source variant of the "
        "training levels.",
    ]
