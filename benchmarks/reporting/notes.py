"""Sentences of the report: its title and size, how the numbers are to be read, and where they come from."""

from __future__ import annotations

from benchmarks.reporting import published
from benchmarks.reporting.cells import Cell, Summary
from benchmarks.reporting.layout import frames
from benchmarks.reporting.tables import has_agreement

FEW_SEEDS = 5
AGGREGATES_NOTE = (
    "Returns normalised by the suite's constants, on the seeds that finished every task; interquartile mean (IQM) with "
    "95% stratified bootstrap intervals over seeds. P(>): chance that a run beats a run of the baseline on a task."
)


def title(summary: Summary) -> str:
    suites = sorted({run.config["suite"] for run in summary.runs if run.config})
    return f"Transfer: {', '.join(suites)}" if suites else "Transfer"


def size(summary: Summary) -> str:
    """Number of runs, their length and their training levels, in one sentence."""
    count = sum(len(cell.runs) for cell in summary.cells)
    if not count:
        return "No finished runs yet."
    steps = ", ".join(frames(step) for step in sorted({cell.config["steps"] for cell in summary.cells}))
    levels = ", ".join(f"{levels:,}" for levels in summary.levels)
    return f"{count} finished run{'s' * (count > 1)}; {steps} frames each; {levels} training levels."


def notes(summary: Summary) -> list[str]:
    """Notes on reading the numbers."""
    sentences = seed_notes([len(cell.runs) for cell in summary.cells])
    sentences += list(dict.fromkeys(filter(None, map(_pretraining, summary.cells))))
    sentences += [
        "gap = return on training levels minus return on the split. Rows are ordered by held-out return, never by "
        "the gap: an agent that has learned nothing has a gap near zero.",
        "frames/s is training alone (environment, policy, update), without pre-training and evaluation.",
    ]
    if has_agreement(summary):
        sentences.append(
            "agreement = how often the most probable action stays the same when the states of the training levels are "
            "drawn as that visual variant. It counts actions, not their effects: where several actions do the same, "
            "it is too low."
        )
    for window in sorted({cell.config.get("window", 0) for cell in summary.cells} - {0}):
        sentences.append(f"Returns are of windows of {window:,} frames, which run on through the ends of games.")
    return sentences


def seed_notes(seeds: list[int]) -> list[str]:
    """Units that the intervals resample, from the number of seeds of each row."""
    sentences = []
    if seeds and max(seeds) == 1:
        sentences.append(
            "One seed: intervals are over the episodes of one agent (bootstrap). They say how well that agent was "
            "measured, not whether another seed would agree; run more seeds before claiming a difference."
        )
    elif 1 in seeds:
        sentences.append(
            "Intervals are over seeds; rows with 1 in 'seeds' have theirs over the episodes of one agent instead, "
            "which says nothing about other seeds."
        )
    if any(1 < count < FEW_SEEDS for count in seeds):
        sentences.append(
            f"Intervals over fewer than {FEW_SEEDS} seeds are percentile bootstraps of very few numbers: read them as "
            "the range over seeds, narrower than a true 95%."
        )
    return sentences


def _pretraining(cell: Cell) -> str:
    """The frames that the representation was pre-trained on; '' where there were none."""
    count, source = cell.config.get("pretrain_frames", 0), cell.config.get("pretrain_on", "none")
    if not count or not cell.config.get("pretrain_samples", count):  # frames for the scale of the features alone
        return ""
    variants = "every visual variant" if source == "all" else "the source variant"
    return (
        f"{cell.label}: pre-trained on {count:,} frames of a random policy, without reward, from {variants} of the "
        "training levels."
    )


def published_note(summary: Summary, env: str) -> str:
    """The protocol of the published rows, and how ours departs from it."""
    cells = [cell for cell in summary.cells if cell.env == env]
    departures = {published.differences(env, cell.train_levels, cell.config["steps"]) for cell in cells} - {""}
    other = f" The protocol differs ({'; or '.join(sorted(departures))}): read shapes, not digits."
    return f"{published.protocol(env).about}.{other if departures else ''}"


def studies(summary: Summary) -> dict[str, str]:
    """The studies that the published rows of these tasks come from: key -> citation."""
    named = {row.source for env in summary.envs for row in published.rows(env)}
    return {key: study.citation for key, study in published.STUDIES.items() if key in named}


def origin(summary: Summary) -> list[tuple[str, str]]:
    """Commit, versions, machine, precision and commands of the finished runs, each distinct value once."""
    sources = [run.source for run in summary.runs if run.state == "finished"]
    facts = []
    for name in ("commit", "machine", "precision", "command"):
        values = sorted({str(source[name]) for source in sources if name in source})
        facts.append((name, "; ".join(f"`{value}`" for value in values) or "unknown"))
    packages: dict[str, set[str]] = {}
    for source in sources:
        for package, version in source.get("versions", {}).items():
            packages.setdefault(package, set()).add(str(version))
    versions = ", ".join(f"{package} {' and '.join(sorted(packages[package]))}" for package in sorted(packages))
    return [*facts, ("versions", versions or "unknown")]
