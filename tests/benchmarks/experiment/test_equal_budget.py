"""The baseline of an equal total: which runs are added, and how long they are."""

from dataclasses import replace

from benchmarks.experiment.equal_budget import equal_budget_runs, whole_rollouts, with_level_switch_steps
from representations.collect import collection_steps
from tests.agents.runs.tools import run_config


class Store:
    """Parts of a run: one network for all."""

    def representative(self, config):
        from agents.runs.build import build_parts

        return build_parts(config)


def test_steps_are_rounded_up_to_a_rollout():
    config = run_config()  # 4 environments x 32 steps
    assert [whole_rollouts(steps, config) for steps in (1, 128, 129, 512)] == [128, 128, 256, 512]


def test_each_total_gets_one_baseline_of_the_same_levels_and_seed():
    cnn, vae = run_config("cnn", level_set="100+3"), run_config("vae", level_set="100+3", pretrain_frames=96)
    other_seed = [replace(config, seed=2, level_set="200+3") for config in (cnn, vae)]
    added = equal_budget_runs([vae, replace(vae, repr_settings={}), cnn, *other_seed], Store())
    # 96 frames by 32 environments: two strides of 8 steps, of all of them
    assert collection_steps(96) == 2 * 8 * 32
    assert [(config.repr, config.seed, config.level_set) for config in added] == [
        ("cnn", 1, "100+3"),
        ("cnn", 2, "200+3"),
    ]
    assert {config.steps for config in added} == {512 + 512}
    assert replace(added[0], steps=512) == cnn


def test_both_starts_of_the_baseline_get_their_own():
    cnn, vae = run_config("cnn"), run_config("vae", pretrain_frames=4096 + 96)
    scaled = replace(cnn, repr_settings={**cnn.repr_settings, "standardise": True}, pretrain_frames=4096)
    added = equal_budget_runs([vae, cnn, scaled], Store())
    # Frames are 8 steps apart in 32 environments: 4,192 take 130 strides of 256 steps, the 4,096 of the scale 127.
    assert [bool(config.repr_settings.get("standardise")) for config in added] == [False, True]
    assert [config.steps - 512 for config in added] == [130 * 256, 3 * 256]


def test_a_total_counts_the_rollout_that_training_ends_with():
    # 4 x 48 = 192 frames a rollout: 193 frames of RL become 384; with 256 of pre-training 640, which is 4 rollouts.
    # 193 + 256 = 449 frames would be 3, fewer than the row really takes.
    cnn, vae = (run_config(name, steps=193, pretrain_frames=64 * (name == "vae")) for name in ("cnn", "vae"))
    cnn, vae = (replace(config, algo_settings={**config.algo_settings, "n_steps": 48}) for config in (cnn, vae))
    assert collection_steps(64) == 256
    assert [config.steps for config in equal_budget_runs([vae, cnn], Store())] == [768]


def test_nothing_is_added_without_pretraining_or_baseline():
    cnn, vae = run_config("cnn"), run_config("vae", pretrain_frames=96)
    assert equal_budget_runs([cnn], Store()) == []
    assert equal_budget_runs([vae], Store()) == []


def test_a_run_with_a_level_switch_is_as_long_as_a_row_that_must_beat_it():
    cnn = run_config("cnn", level_set="100+3")
    short = {"steps": 300, "num_envs": 4, "algo_settings": cnn.algo_settings, "repr_settings": cnn.repr_settings}
    data = {"level_set": "100+3", "data_policy": short, "pretrain_data": "mixed"}
    start = run_config("cnn", start_from_policy=True, **data)
    vae = run_config("vae", pretrain_frames=96, **data)
    encoder = run_config("policy_cnn", pretrain_frames=32, **data)
    scaled = run_config("cnn", pretrain_frames=32, **data)
    other_seed = replace(vae, seed=2, pretrain_frames=320)
    runs = with_level_switch_steps([cnn, vae, encoder, scaled, start, other_seed], Store())
    # The short PPO's 300 frames are 3 rollouts of 128, 384. vae: 512 of RL and 384 and 96 frames, 48 by each behaviour:
    # one stride of 8 x 32 in both, 512. So 1408 in all, of which 384 were the policy's: 1024.
    # A row of 512 for the encoder, or for the baseline's scale (512 + 384 + 0), would be compared with neither.
    assert [config.steps for config in runs if config.start_from_policy] == [1024]
    assert [config.repr for config in runs] == ["cnn", "vae", "policy_cnn", "cnn", "cnn", "vae"]
    assert equal_budget_runs([start], Store()) == []
