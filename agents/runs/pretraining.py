"""Pre-training of a run's representation: taken from the cache of fits, or made and kept there.

What is fitted is the method's own objective, where it has something to fit offline, and then the scale of its features.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from agents import checkpoint
from agents.policy import Precision
from agents.runs.build import RunParts, pretraining_worlds
from agents.runs.config import parse_bonuses
from agents.runs.context import RunContext
from agents.runs.data_policy import DataPolicy, behaviours, num_behaviours, take_encoder
from agents.runs.fit_cache import FitCache, Outcome, fit_key
from agents.runs.source import code_hash, foreign_sources, package_versions, processor
from envs.rng_streams import Streams
from envs.steps import Obs
from representations.collect import DataCoverage, collect
from representations.pretext import FRAMES, pretext_scores
from representations.pretrain import Pretrainer
from representations.standardise import standardise

FITTED_BY = (
    *("envs", "representations", "agents.runs.pretraining"),
    *("agents.runs.data_policy", "agents.actions", "agents.distributions", "agents.joint_actions"),
    *("agents.memory", "agents.policy", "agents.runner"),
)
"""Packages and modules whose code decides the bits of a fit; of the last two lines, for a data policy."""
TRAINED_BY = (
    *("envs", "representations", "agents.*", "agents.parallel"),
    *("agents.runs.build", "agents.runs.data_policy", "agents.runs.train"),
)
"""Packages and modules whose code decides the bits of a short PPO; "agents.*" is its own modules alone."""


def pretrain(context: RunContext, data_policy: DataPolicy | None = None) -> None:
    """Fit the representation offline, or take the same fit from the cache.

    Args:
        data_policy: gathers the frames, or gives the encoder, where the configuration asks for one.
    """
    facts = fit_facts(context.parts, context.device, context.precision, data_policy)
    fits = FitCache(context.cache)
    with fits.locked(facts, context.stop.check):
        outcome = fits.restore(facts, context.parts.representation)
        if outcome is not None:
            take_over(context, outcome)
        else:
            fit(context, data_policy)
            outcome = Outcome(facts, context.run.records(), context.clock.seconds["pretrain"])
            fits.keep(outcome, context.parts.representation)
    context.run.write_source(fit=fit_key(facts))
    if reached := [record for record in outcome.records if any(name.startswith("data/") for name in record)]:
        values = [f"{name.removeprefix('data/')} {value:.3g}" for name, value in reached[-1].items() if "data/" in name]
        print(f"{context.run.id}: frames of {context.config.pretrain_data} behaviour reached {', '.join(values)}")


def take_over(context: RunContext, outcome: Outcome) -> None:
    """Write the records of a fit made elsewhere, and charge its seconds."""
    context.run.start_afresh()
    for record in outcome.records:
        context.records.log(record)
    context.clock.seconds["pretrain"] = outcome.seconds
    seconds = f"{outcome.seconds:,.0f} s"
    print(f"{context.run.id}: pre-training taken from {context.cache}/{fit_key(outcome.facts)} ({seconds}, charged)")


def fit(context: RunContext, data_policy: DataPolicy | None = None) -> None:
    """Fit the representation offline, where it has something to fit, and then the scale of its features.

    Frames come again from their seed and the scale from the frames; only weights and draws are stored.
    """
    config, task, representation = context.config, context.task, context.parts.representation
    worlds, coverage = pretraining_worlds(config, task), DataCoverage()
    if representation.starts_from_policy:
        assert data_policy is not None
        take_encoder(representation, data_policy)
    with context.clock.measure("pretrain"):
        frames = collect(
            worlds,
            config.pretrain_frames,
            context.seed("pretraining frames"),
            window=representation.window,
            views=representation.views,
            behaviours=behaviours(config, data_policy),
            coverage=coverage,
        )
    if config.pretrain_samples:
        fit_offline(context, frames)
    else:
        context.run.start_afresh()
    with context.clock.measure("pretrain"):
        scale = standardise(representation, frames, len(worlds) * num_behaviours(config))
    context.records.log({"global_step": 0, **coverage.metrics(), **scale, **pretext(context, data_policy)})


def pretext(context: RunContext, data_policy: DataPolicy | None = None) -> dict[str, float]:
    """Accuracy of the representation's pretext task, where it has one, on frames that the fit has not seen."""
    config, representation = context.config, context.parts.representation
    if not representation.pretext or not config.pretrain_samples:
        return {}
    worlds = pretraining_worlds(config, context.task)
    frames = collect(
        worlds,
        max(FRAMES, len(worlds) * num_behaviours(config) * representation.window),
        context.seed("pretext frames"),
        window=representation.window,
        behaviours=behaviours(config, data_policy),
    )
    return pretext_scores(representation, frames, torch.Generator().manual_seed(context.seed("pretext draws")))


def fit_offline(context: RunContext, frames: Obs) -> None:
    """Minimise the representation's own objective on ``frames``, from wherever its checkpoint stands."""
    config, representation = context.config, context.parts.representation
    generator = Streams(config.seed, context.device)["pretraining"]
    pretrainer = Pretrainer(
        representation, frames, config.pretrain_samples, generator=generator, precision=context.precision
    )
    components = {**pretrainer.components(), **context.shared_components()}
    if checkpoint.load(context.pretrain_checkpoints, components) is None:
        context.run.start_afresh()
    context.progress.stage("pretrain", pretrainer.total, pretrainer.drawn)
    while not pretrainer.done:
        with context.clock.measure("pretrain"):
            metrics = pretrainer.run(max(1, pretrainer.total // 20)) | pretrainer.watch()
        context.records.log({"global_step": 0, "pretrain/samples": pretrainer.drawn, **metrics})
        notes = [f"{name.split('/', 1)[-1]}={value:.3g}" for name, value in list(metrics.items())[:3]]
        context.progress.update(pretrainer.drawn, " ".join(notes))
        checkpoint.save(context.pretrain_checkpoints, pretrainer.drawn, components)
        context.stop.check()
    context.progress.close()


def fit_facts(
    parts: RunParts, device: str, precision: Precision, data_policy: DataPolicy | None = None
) -> dict[str, Any]:
    """Everything that decides the bits of a run's fit, as plain data.

    Left out on purpose: the agent, the bonuses and the mode, which begin afterwards. The code counts by the contents of
    its files and not by the commit, so that a commit elsewhere keeps the fits and an edit that is not committed does
    not.
    """
    config = parts.config
    begins_later = {config.algo, *parse_bonuses(config.bonus.split())}
    return {
        "repr": config.repr,
        "settings": json.loads(json.dumps(config.repr_settings)),
        "spec": repr(parts.representation.spec),
        "data": config.pretrain_data.partition(":")[0],
        "data_policy": data_policy.digest if data_policy else "",
        "worlds": [repr(world) for world in pretraining_worlds(config, parts.task)],
        "frames": config.pretrain_frames,
        "samples": config.pretrain_samples,
        "seed": config.seed,
        "precision": precision,
        "device": device,
        "threads": torch.get_num_threads(),
        "code": code_hash(FITTED_BY),
        "foreign": {name: file for name, file in foreign_sources(config).items() if name not in begins_later},
        "versions": package_versions(),
        "processor": processor(),
    }
