"""A run from beginning to end: pre-training, training with checkpoints, final evaluation.

``train(parts, run, ...)`` brings one run to its end from wherever its checkpoint stands; started again after a kill,
it ends with the same weights, to the bit, as if it had never stopped.

Several processes may train one run (``agents.parallel.distributed``). The first alone pre-trains, evaluates and writes.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from agents import ALGORITHMS, checkpoint
from agents.on_policy import OnPolicyAlgorithm
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Precision
from agents.runs.build import RunParts, build_parts, resolve_device, resolve_precision
from agents.runs.callback import Clock, Progress, Records, StopRequest, TrainingCallback
from agents.runs.config import RunConfig, as_json
from agents.runs.context import RunContext
from agents.runs.continued import begin_as_parent
from agents.runs.data_policy import (
    DataPolicy,
    data_policy_config,
    load_data_policy,
    named_run,
    take_policy,
    takes_weights,
    uses_data_policy,
)
from agents.runs.env_metrics import EnvMetrics, NewestEpisodes
from agents.runs.final import final_evaluation, periodic_evaluation
from agents.runs.fit_cache import FitCache, fit_key
from agents.runs.kept_policies import save_policy
from agents.runs.pretraining import TRAINED_BY, pretrain
from agents.runs.run_dir import RunDir, open_experiment
from agents.runs.source import code_hash, foreign_sources, package_versions, processor
from agents.runs.trackers import Tracker
from envs.finite import require_finite_weights
from envs.wrappers.sb3 import Sb3VecEnv


def train(
    parts: RunParts,
    run: RunDir,
    tracker: Tracker,
    progress: Progress,
    device: str = "auto",
    ranks: Ranks = SINGLE_PROCESS,
    cache: Path | None = None,
) -> OnPolicyAlgorithm:
    """Bring a run to its end: pre-training, training, final evaluation, pictures, ``done``.

    A run that continues another begins with what that left. One that was begun in one precision and with a number of
    threads ends so; and on one device, unless another one than "auto" is asked for.

    Args:
        parts: as ``build_parts`` gives them; they are trained in place.
        cache: folder of finished fits; None takes "fits" in the experiment directory.

    Raises:
        Preempted: SIGTERM or SIGINT came; the checkpoint was written first.
    """
    cache = cache or run.experiment / "fits"
    checkpoints = run.checkpoints / "train"
    ranks.on_rank_zero(lambda: begin_as_parent(run, parts.config))
    resumed = ranks.on_rank_zero(lambda: checkpoints.exists() and checkpoint.read(checkpoints) is not None)

    def begin() -> tuple[str, Precision]:
        begun = run.source
        recorded = begun.get("device", device)
        chosen = resolve_device(recorded if device == "auto" else device)
        if chosen != recorded and recorded != "auto":
            print(f"{run.id} was begun on {recorded} and goes on on {chosen}, as asked: not to the bit")
        precision = begun.get("precision") or resolve_precision(parts.config.precision, chosen)
        threads = begun.get("threads", torch.get_num_threads())
        if threads != torch.get_num_threads():
            print(
                f"{run.id} was begun with {threads} threads, on which its weights depend: torch takes {threads} again"
            )
            torch.set_num_threads(threads)
        run.write_start(device=chosen, precision=precision, threads=threads)
        return chosen, precision

    device, precision = ranks.on_rank_zero(begin)
    policy_run = None
    if uses_data_policy(parts.config) and not resumed:
        policy_run = finished_data_policy(parts.config, cache, progress, device, ranks)
    records, clock, stop = Records(run, tracker), Clock(), StopRequest()
    context = RunContext(parts, run, records, progress, clock, stop, device, precision, cache, ranks)
    data_policy = None if policy_run is None else load_data_policy(policy_run, device)
    with stop.listening():
        parts.representation.to(device)
        if not resumed:
            ranks.on_rank_zero(lambda: prepare(context, data_policy))
        agent = train_agent(context, resumed, data_policy)
        ranks.on_rank_zero(lambda: final_evaluation(context, agent))
    assert agent.env is not None
    agent.env.close()
    return agent


def finished_data_policy(
    config: RunConfig, cache: Path, progress: Progress, device: str, ranks: Ranks = SINGLE_PROCESS
) -> Path:
    """Folder of the run whose policy ``config`` needs: the one it names, or a short PPO, trained now if need be.

    A short PPO is shared by runs of the same code, versions, processor and number of threads.
    """
    if (named := named_run(config)) is not None:
        return named
    wanted, stop = data_policy_config(config), StopRequest()
    facts = ranks.on_rank_zero(lambda: policy_facts(wanted, device))
    with stop.listening():
        experiment = ranks.on_rank_zero(lambda: open_experiment(cache / "policies" / fit_key(facts)))
        lock = FitCache(cache).locked(facts, stop.check)
        with lock if ranks.index == 0 else nullcontext():
            run = RunDir(experiment, wanted, ranks)
            try:
                if not ranks.on_rank_zero(lambda: run.done):
                    train(build_parts(wanted), run, Tracker(), progress, device, ranks, cache)
            finally:
                run.close()
    return run.path


def policy_facts(wanted: RunConfig, device: str) -> dict[str, Any]:
    """Everything that decides the bits of a short PPO, as plain data."""
    return {
        "repr": "policy",
        "config": as_json(wanted),
        "device": device,
        "precision": resolve_precision(wanted.precision, device),
        "threads": torch.get_num_threads(),
        "code": code_hash(TRAINED_BY),
        "foreign": foreign_sources(wanted),
        "versions": package_versions(),
        "processor": processor(),
    }


def prepare(context: RunContext, data_policy: DataPolicy | None) -> None:
    """Everything before the first step of RL: the representation fitted, and the data policy charged."""
    if context.config.pretrain_frames and not context.config.init_from:
        pretrain(context, data_policy)
    else:
        context.run.start_afresh()
    if data_policy is not None:
        context.run.write_source(**{"init_from" if context.config.init_from else "data_policy": data_policy.facts})
        if takes_weights(context.config) and data_policy.held_out_read:
            context.run.write_source(continued_after_evaluation=True)
        context.clock.seconds["pretrain"] += data_policy.seconds


def train_agent(context: RunContext, resumed: bool, data_policy: DataPolicy | None = None) -> OnPolicyAlgorithm:
    """Train the agent to the last frame.

    Args:
        data_policy: first weights of a run that starts from it.
    """
    config, ranks = context.config, context.ranks
    agent = build_agent(context)
    if (config.start_from_policy or config.init_from) and data_policy is not None:
        take_policy(agent.policy, data_policy)
    if not agent.exact_env:
        print(f"{config.env} cannot save its state: a resumed run begins new episodes and is not exact")
    env_metrics = EnvMetrics(getattr(agent.env, "metric_infos", {}), ranks)
    newest_episodes = NewestEpisodes(agent.n_envs, ranks)
    spread = {
        name: checkpoint.PerRank(component, ranks)
        for name, component in (("env_metrics", env_metrics), ("newest_episodes", newest_episodes))
    }
    components = {**agent.components(), **context.shared_components(), **spread}
    if resumed:
        checkpoint.load(context.train_checkpoints, components)
    ranks.on_rank_zero(context.records.begin)
    ranks.broadcast(agent.policy.state_dict().values())  # which holds what rank 0 alone has pre-trained

    def save(step: int) -> None:
        require_finite_weights(agent.policy, f"after {step:,} frames")
        ranks.assert_in_sync(agent.policy.parameters(), f"weights after {step:,} frames")
        checkpoint.save(context.train_checkpoints, step, components, ranks)
        # What pre-training led to is in the new checkpoint.
        ranks.on_rank_zero(lambda: shutil.rmtree(context.pretrain_checkpoints, ignore_errors=True))

    callback = TrainingCallback(
        context.clock,
        context.records,
        context.progress,
        context.stop,
        save=save,
        save_every=config.checkpoint_frames,
        evaluate=lambda agent, step: periodic_evaluation(context, agent, step),
        evaluate_every=config.steps / max(config.periodic_evals, 1),
        keep=lambda agent, step: save_policy(context, agent.policy, step),
        keep_every=config.steps / max(config.kept_policies, 1),
        env_metrics=env_metrics,
        newest_episodes=newest_episodes,
        ranks=ranks,
    )
    ranks.on_rank_zero(lambda: context.progress.stage("train", config.steps, agent.num_timesteps))
    remaining = config.steps - agent.num_timesteps
    if remaining > 0:
        if ranks.on_rank_zero(lambda: "held_out_read_at" in context.run.source):
            ranks.on_rank_zero(lambda: context.run.write_source(continued_after_evaluation=True))
        agent.learn(remaining, callback=callback, log_interval=None, reset_num_timesteps=not resumed)  # type: ignore[arg-type]
    context.progress.close()
    return agent


def build_agent(context: RunContext) -> OnPolicyAlgorithm:
    """The agent on this process's share of the training environments."""
    config, parts = context.config, context.parts
    envs = context.ranks.local_envs(config.num_envs)
    world, seed = context.policy_world(context.task.source), context.seed("training environments")
    algorithm = ALGORITHMS.resolve(config.algo)
    agent: OnPolicyAlgorithm = algorithm(
        Sb3VecEnv(world.make(len(envs), seed, envs.start)),
        parts.representation,
        algorithm.Config(**config.algo_settings),
        mode=config.mode,
        seed=config.seed,
        precision=context.precision,
        compiled=config.compile,
        device=context.device,
        bonuses=parts.bonuses,
        ranks=context.ranks,
    )
    return agent
