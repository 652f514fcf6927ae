"""TensorBoard's event files, read back."""

import pytest
from PIL import Image

from agents.runs.trackers import open_tracker
from tests.agents.runs.trackers.tools import CONFIG, resumed, use


def test_tensorboard_has_an_axis_for_pretraining_and_no_point_twice(tmp_path):
    pytest.importorskip("tensorboard", reason="extra .[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed("tensorboard", tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/policy")] == [
        (128, 0.5),
        (256, 1.0),
        (384, 1.5),
        (512, 2.0),
    ]
    offline = EventAccumulator(str(tmp_path / "tensorboard" / "pretraining")).Reload()
    assert [event.step for event in offline.Scalars("pretrain/vae/loss")] == [64, 128, 192]
    assert "pretrain/vae/loss" not in read.Tags()["scalars"]


def test_tensorboard_gets_scalars_at_their_steps_and_the_picture(tmp_path):
    pytest.importorskip("tensorboard", reason="extra .[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    tracker = open_tracker("tensorboard", CONFIG, "x", tmp_path)
    tracker.log({"global_step": 100, "eval/gap": 0.25})
    use(tracker, tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("eval/gap")] == [(100, 0.25), (5, 0.5)]
    assert read.Tags()["images"] == ["pictures/splits"]
    assert read.Images("pictures/splits")[0].step == 5


def test_final_figures_are_in_the_table_of_hyperparameters(tmp_path):
    pytest.importorskip("tensorboard", reason="extra .[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    nested = {**CONFIG, "algo_settings": {"gamma": 0.97, "memory": "none"}, "normalise": None, "splits": ["train"]}
    use(open_tracker("tensorboard", nested, "x", tmp_path), tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("result/gap")] == [(5, 0.75)]
    tags = read.summary_metadata
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(tags)
    begun = HParamsPluginData.FromString(tags["_hparams_/session_start_info"].plugin_data.content)
    values = begun.session_start_info.hparams
    assert values["algo_settings.gamma"].number_value == 0.97
    assert (values["repr"].string_value, values["splits"].string_value) == ("cnn", "['train']")
