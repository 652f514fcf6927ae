"""Sentences of the report: its title and size, how the numbers are to be read, and where they come from."""

from __future__ import annotations

from benchmarks.reporting import origins, published
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.context_tables import is_comparable
from benchmarks.reporting.labels import UNNAMED, protocol
from benchmarks.reporting.layout import frames, listed
from benchmarks.reporting.published import Conditions
from benchmarks.reporting.summary import Summary, decides, declaration
from benchmarks.reporting.tables import MANY_SEEDS

OLD_PROTOCOL = (
    "Old protocol: these runs evaluated first episodes on levels that they did not name, so each episode passes for a "
    "level of its own and nothing is paired by level. Compare them with each other only."
)


def title(summary: Summary) -> str:
    suites = sorted({run.config["suite"] for run in summary.runs if run.config})
    return f"Transfer: {', '.join(suites)}" if suites else "Transfer"


def size(summary: Summary) -> str:
    """Number of runs, their length and their training levels, in one sentence."""
    count = sum(len(cell.runs) for cell in summary.cells)
    if not count:
        return "No finished runs yet."
    steps = ", ".join(frames(step) for step in sorted({cell.frames for cell in summary.cells}))
    levels = ", ".join(f"{levels:,}" for levels in summary.levels)
    kinds = {
        "drawn": f"{levels} training levels drawn for each seed",
        "published": f"{levels} training levels of the published set, 0 to K - 1",
        UNNAMED: "no named levels",
    }
    which = [words for kind, words in kinds.items() if any(cell.level_set_kind == kind for cell in summary.cells)]
    return f"{count} finished run{'s' * (count > 1)}; {steps} frames each; {listed(which)}."


def one_line(cell: Cell) -> str:
    """Returns, gaps and cost of one run."""
    returns = []
    for split, interval in cell.returns.items():
        gap = f" (gap {cell.gaps[split].estimate:+.2f})" if split in cell.gaps else ""
        returns.append(f"{split} {interval.estimate:.2f}{gap}")
    words = ", ".join(returns)
    (run,) = cell.runs
    best, last = run.best_validation, run.final_validation
    if best is not None and last is not None:
        words += f"; validation best {best[1]:.2f} at {frames(best[0])}, last {last:.2f}"
        words += f", fell by {run.fall:.2f}" if run.fall else ""
    return f"{words}; {cell.frames_per_second:,.0f} frames/s"


def notes(summary: Summary) -> list[str]:
    """Notes on reading the numbers."""
    sentences = [] if summary.named_levels else [OLD_PROTOCOL]
    sentences += seed_notes([len(cell.runs) for cell in summary.cells])
    sentences += mark_notes(summary)
    sentences += outcome_notes(summary)
    sentences += pretraining_notes(summary)
    for window in sorted({cell.config.get("window", 0) for cell in summary.cells} - {0}):
        sentences.append(f"Returns are of windows of {window:,} frames, which run on through the ends of games.")
    return sentences


def seed_notes(seeds: list[int]) -> list[str]:
    """Units that the intervals resample, from the number of seeds of each row."""
    sentences = []
    if any(count > 1 for count in seeds):
        sentences.append(
            "Intervals (95%, Student's t) resample seeds and levels: would other seeds on other levels agree?"
        )
    if 1 in seeds:
        sentences.append(
            "One seed: the interval resamples levels alone. It speaks of these agents on these levels, and no "
            "difference between such rows is one of methods; run more seeds before claiming one."
        )
    if any(1 < count < MANY_SEEDS for count in seeds):
        sentences.append(
            f"(few): fewer than {MANY_SEEDS} seeds. The intervals are as wide as so few seeds make them, so small "
            "effects are missed."
        )
    return sentences


def mark_notes(summary: Summary) -> list[str]:
    """Meaning of the marks behind a method's name, for each row that has one."""
    sentences = []
    for cell in summary.cells:
        where = f"{cell.label}, {cell.env}, {cell.levels_in_words}"
        if cell.fallen:
            falls = [
                f"seed {run.config['seed']} by {run.fall:.2f} (best {run.best_validation[1]:.2f} at "
                f"{frames(run.best_validation[0])} frames, last {run.final_validation:.2f})"
                for run in cell.fallen
                if run.best_validation and run.final_validation is not None
            ]
            sentences.append(f"† {where}: fell on validation levels: {listed(falls)}. No difference of it is marked.")
        if cell.continued:
            seeds = listed(run.config["seed"] for run in cell.continued)
            sentences.append(f"‡ {where}: seed {seeds} was continued after held-out levels were read.")
        if added := [run.config["seed"] for run in cell.runs if run.source.get("added_evaluations")]:
            again = f"seed {listed(added)} was evaluated again after its end (added.csv)"
            sentences.append(f"{where}: {again}; no figure here reads that.")
        if mixed := cell.mixed():
            sentences.append(f"{origins.MARK} {where}: {origins.described(mixed)}{_barred(mixed)}.")
        reference = summary.reference(cell)
        if reference and (mixed := cell.mixed(reference.cell)) not in ({}, cell.mixed(), reference.cell.mixed()):
            beside = f"{where}, and {reference.cell.label} that it is compared with"
            sentences.append(f"{origins.MARK} {beside}: {origins.described(mixed)}{_barred(mixed)}.")
    return sentences


def _barred(mixed: dict[str, list[str]]) -> str:
    return ". No interval: these may be two behaviours" if "commit" in mixed else ""


def outcome_notes(summary: Summary) -> list[str]:
    """Outcomes that the tasks can decide, and rows without a baseline of the same total budget."""
    sentences = []
    for env, levels in dict.fromkeys(cell.task for cell in summary.cells):
        cells = [cell for cell in summary.cells if cell.task == (env, levels)]
        outcomes = set.intersection(*(set(declaration(cell).outcomes) for cell in cells))
        reasons = listed(dict.fromkeys(declaration(cell).reason for cell in cells), "; and")
        what = f"decides the {listed(sorted(outcomes))} only" if outcomes else "declares no outcome"
        order = "of return on unseen levels" if decides(cells, "held-out return") else "of label, which ranks nothing"
        if len(outcomes) < 3:
            sentences.append(
                f"{env}, {cells[0].levels_in_words}: {what} ({reasons}). Its rows are in the order {order}."
            )
    pairs = [(cell, summary.reference(cell)) for cell in summary.cells]
    fallbacks = [cell.label for cell, reference in pairs if reference and reference.budget == "equal RL steps"]
    if fallbacks:
        names = listed(dict.fromkeys(fallbacks))
        sentences.append(
            f"{names}: compared with the baseline of as many RL steps, which had no pre-training; add "
            "--equal-budget for one of as many steps in all."
        )
    return sentences


def pretraining_notes(summary: Summary) -> list[str]:
    """The frames that representations were pre-trained on, methods with the same ones together."""
    methods: dict[tuple[int, str, str], list[str]] = {}
    for cell in summary.cells:
        count, source = cell.config.get("pretrain_frames", 0), cell.config.get("pretrain_on", "none")
        # without samples the frames only gave the features their scale
        fitted = count and cell.config.get("pretrain_samples", count)
        if fitted and cell.label not in (labels := methods.setdefault((count, source, protocol(cell.config)), [])):
            labels.append(cell.label)
    sentences = [
        f"{listed(labels)}: pre-trained on {count:,} frames, without reward, from "
        f"{'every visual variant' if source == 'all' else 'the source variant'}{f' ({data})' if data else ''}."
        for (count, source, data), labels in methods.items()
    ]
    if any(data for _, _, data in methods):
        sentences.append(
            "Rows with other data are ranked among themselves, and marked as better only where they beat three "
            "controls: the data policy's encoder frozen (policy_cnn), fine-tuned from it, and a cnn that started from "
            "it."
        )
    return sentences


def published_note(summary: Summary, env: str) -> str:
    """The protocol of the published rows, and how ours departs from it."""
    cells = [cell for cell in summary.cells if cell.env == env]
    comparable = [cell for cell in cells if is_comparable(cell)]
    if not comparable:
        return (
            f"{published.protocol(env).about}. No row here stands beside them: training levels were drawn; "
            "`--level-sets published` trains on the published ones."
        )
    departures = {published.differences(env, conditions(cell)) for cell in comparable} - {""}
    other = f" The protocol differs ({'; or '.join(sorted(departures))}): read shapes, not digits."
    return f"{published.protocol(env).about}.{other if departures else ''}"


def conditions(cell: Cell) -> Conditions:
    """Conditions that a cell was run under, as far as published rows depend on it."""
    return Conditions(
        levels=cell.train_levels,
        steps=cell.steps,
        seeds=len(cell.runs),
        trunk=str(cell.config.get("trunk", "")),
        precision=listed(sorted({str(run.source.get("precision", "")) for run in cell.runs})),
    )


def studies(summary: Summary) -> dict[str, str]:
    """The studies that the published rows of these tasks come from: key -> citation."""
    named = {row.source for env in summary.envs for row in published.rows(env)}
    return {key: study.citation for key, study in published.STUDIES.items() if key in named}


def origin(summary: Summary) -> list[tuple[str, str]]:
    """Commit, versions, machine, precision and commands of the finished runs, each distinct value once.

    Runs of several directories also name these.
    """
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
    facts.append(("versions", versions or "unknown"))
    folders = sorted({str(run.path.parent.parent) for run in summary.runs})
    return [*facts, ("directories", "; ".join(f"`{folder}`" for folder in folders))] if len(folders) > 1 else facts
