"""The report's tables and notes, as text for a terminal and as Markdown; ``webpage`` shows the same ones."""

from __future__ import annotations

import math
import textwrap

import numpy as np

from benchmarks.reporting import published, stats
from benchmarks.reporting.runs import Cell, Summary, normalise
from benchmarks.reporting.stats import Interval
from envs.reference_scores import POLICIES, Reference, known

Table = tuple[list[str], list[list[str]]]
WIDTH = 120
AGGREGATES_NOTE = (
    "Returns normalised by the suite's constants, on the seeds that finished every task; interquartile mean (IQM) with "
    "95% stratified bootstrap intervals over seeds. P(>): chance that a run beats a run of the baseline on a task."
)
FEW_SEEDS = 5


def number(value: float, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.2f}"


def interval(found: Interval | None, sign: bool = False) -> str:
    """'9.00 [8.71, 9.27]'; a single unit has no interval, and equal units have none worth printing."""
    if found is None:
        return "–"
    if not found.usable:
        return f"{number(found.estimate, sign)} [n=1]"
    if found.low == found.high:
        return f"{number(found.estimate, sign)} [all equal]"
    return f"{number(found.estimate, sign)} [{number(found.low, sign)}, {number(found.high, sign)}]"


def headline(summary: Summary) -> Table:
    """Method x split: return and gap with 95% intervals, normalised return, speed beside the baseline's."""
    several_envs, several_levels = len(summary.envs) > 1, len(summary.levels) > 1
    paired = has_pairs(summary)
    header = ["method", "mode"]
    header += ["task"] * several_envs + ["levels"] * several_levels
    header += ["split", "return [95%]", "gap [95%]", *["agree"] * paired, "norm.", "seeds", "frames/s"]
    header += [f"x {summary.baseline}"] * bool(summary.baseline)
    rows = []
    for cell in summary.cells:
        for index, split in enumerate(cell.config["splits"]):
            normalised = normalise(cell.runs[0], cell.returns[split].estimate)
            row = [cell.label, cell.config["mode"]] if index == 0 else ["", ""]
            row += [cell.env if index == 0 else ""] * several_envs
            row += [f"{cell.train_levels:,}" if index == 0 else ""] * several_levels
            row += [split, interval(cell.returns[split]), interval(cell.gaps.get(split), sign=True)]
            if paired:
                agreed = cell.agreement(split)
                row += ["" if agreed is None else f"{100 * agreed:.0f}%"]
            row += ["–" if normalised is None else number(normalised)]
            row += [str(len(cell.runs)), *speed(summary, cell)] if index == 0 else ["", "", ""]
            rows.append(row[: len(header)] + [""] * (len(header) - len(row)))
    return header, rows


def speed(summary: Summary, cell: Cell) -> list[str]:
    """Frames per second of training, and as a multiple of the baseline's."""
    own, reference = cell.frames_per_second, summary.reference(cell)
    if math.isnan(own):
        return ["–", "–"]
    ratio = f"{own / reference.frames_per_second:.2f}" if reference else "–"
    return [f"{own:,.0f}", ratio]


def against_baseline(summary: Summary) -> Table:
    """Each method minus the baseline on held-out levels: the difference that a claim needs."""
    rows = []
    for cell in summary.cells:
        reference = summary.reference(cell)
        if reference is None or reference is cell:
            continue
        difference = cell.over(reference, cell.target)
        row = [cell.label, cell.env, f"{cell.train_levels:,}", cell.target, interval(difference, sign=True)]
        rows.append([*row, difference.over])
    return ["method", "task", "levels", "split", f"return minus {summary.baseline}'s [95%]", "interval over"], rows


def aggregates(summary: Summary) -> Table:
    """Over a suite's tasks, normalised: IQM of train, held-out and gap, P(better than the baseline), and others."""
    header = ["method", "levels", "tasks", "seeds", "IQM train", "IQM held-out", "IQM gap"]
    header += [f"P(> {summary.baseline or 'baseline'})", "mean", "median", "optimality gap"]
    rows = []
    for levels in summary.levels:
        base = matrices(summary, summary.baseline, levels)
        for label in summary.labels:
            found = matrices(summary, label, levels)
            if found is None:
                continue
            train, held_out = found
            row = [label, f"{levels:,}", str(train.shape[1]), str(len(train))]
            row += [interval(stats.over_seeds(scores, stats.iqm)) for scores in found]
            row.append(interval(stats.paired_difference(train, held_out, stats.iqm), sign=True))
            alone = base is None or label == summary.baseline
            row.append("–" if alone or base is None else interval(stats.improvement(held_out, base[1])))
            others = (stats.mean, stats.median, stats.optimality_gap)
            rows.append(row + [number(float(aggregate(held_out))) for aggregate in others])
    return header, rows


def references(summary: Summary) -> Table:
    """What a random and a hand-written policy get on the same splits, where that was measured."""
    wanted = {(cell.env, split): None for cell in summary.cells for split in cell.config["splits"]}
    found: dict[tuple[str, str], dict[str, Reference]] = {}
    for row in known():
        found.setdefault((row.env, row.split), {})[row.policy] = row
    rows = []
    for env, split in wanted:
        if scores := found.get((env, split)):
            told = [number(scores[policy].mean) if policy in scores else "–" for policy in POLICIES]
            rows.append([env, split, *told, next(iter(scores.values())).command])
    return ["task", "split", *(f"{policy} policy" for policy in POLICIES), "command"], rows


def matrices(summary: Summary, label: str, levels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Normalised (train, held-out) returns (N, M) of the seeds that finished on every task, if there are any."""
    cells = [cell for env in summary.envs if (cell := summary.cell(label, env, levels))]
    complete = len(cells) == len(summary.envs) > 1 and all(cell.config["normalise"] for cell in cells)
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells))) if complete else []
    if not seeds:
        return None

    def scores(split: str) -> np.ndarray:
        columns = []
        for cell in cells:
            by_seed = dict(zip(cell.seeds, cell.runs, strict=True))
            name = cell.target if split == "target" else split
            columns.append([normalise(run, run.returns[name].mean()) for run in map(by_seed.__getitem__, seeds)])
        return np.array(columns, dtype=np.float64).T

    return scores("train"), scores("target")


def beside(summary: Summary, env: str) -> Table:
    """Our rows on top of the published ones, split by split."""
    found = published.rows(env)
    rows = []
    for split in dict.fromkeys(row.split for row in found):
        for cell in summary.cells:
            if cell.env == env and split in cell.gaps:
                size = f"here: {cell.train_levels:,} levels, {published.in_words(cell.config['steps'])} frames"
                values = [number(cell.returns[name].estimate) for name in ("train", split)]
                rows.append([split, cell.label, *values, number(cell.gaps[split].estimate, sign=True), size])
        for row in (row for row in found if row.split == split):
            train, test = _with_std(row.train, row.train_std), _with_std(row.test, row.test_std)
            gap = published.gap(row)
            rows.append([split, row.method, train, test, "–" if gap is None else number(gap, sign=True), row.source])
    return ["split", "method", "train", "test", "gap", "study"], rows


def _with_std(value: float | None, std: float | None) -> str:
    if value is None:
        return "–"
    # printed with one or two decimals in the papers: never fewer than one
    digits = 1 if all(round(number, 1) == number for number in (value, std or 0.0)) else 2
    return f"{value:.{digits}f} ± {std:.{digits}f}" if std is not None else f"{value:.{digits}f}"


def departures(summary: Summary, env: str) -> list[str]:
    """How our rows for ``env`` differ from the published protocol."""
    found = {
        published.differences(env, cell.train_levels, cell.config["steps"]) for cell in summary.cells if cell.env == env
    }
    return sorted(found - {""})


def notes(summary: Summary) -> list[str]:
    """How the numbers are to be read."""
    said = []
    seeds = [len(cell.runs) for cell in summary.cells]
    if summary.cells and max(seeds) == 1:
        said.append(
            "One seed: intervals are over the episodes of one agent (bootstrap). They say how well that agent was "
            "measured, not whether another seed would agree; run more seeds before claiming a difference."
        )
    elif 1 in seeds:
        said.append(
            "Intervals are over seeds; rows with 1 in 'seeds' have theirs over the episodes of one agent instead, "
            "which says nothing about other seeds."
        )
    if any(1 < count < FEW_SEEDS for count in seeds):
        said.append(
            f"Intervals over fewer than {FEW_SEEDS} seeds are percentile bootstraps of very few numbers: read them as "
            "the range seen, narrower than a true 95%."
        )
    said += list(dict.fromkeys(filter(None, map(_pretraining, summary.cells))))
    said += [
        "gap = return on training levels minus return on the split. Rows are ordered by held-out return, never by "
        "the gap: an agent that has learned nothing has a gap near zero.",
        "frames/s is training alone (environment, policy, update), without pre-training and evaluation.",
    ]
    if has_pairs(summary):
        said.append(
            "agree = on the very states of the training levels, shown the split's way, how often the likeliest action "
            "stays the same."
        )
    for frames in sorted({cell.config.get("window", 0) for cell in summary.cells} - {0}):
        said.append(f"Returns are of windows of {frames:,} frames, which run on through the ends of games.")
    return said


def has_pairs(summary: Summary) -> bool:
    """Some split shows the source's own states."""
    return any(cell.agreement(split) is not None for cell in summary.cells for split in cell.gaps)


def _pretraining(cell: Cell) -> str:
    """What the representation was fitted on; '' where nothing was."""
    frames, where = cell.config.get("pretrain_frames", 0), cell.config.get("pretrain_on", "none")
    if not frames:
        return ""
    looks = "every look of the training levels" if where == "all" else "the source look of the training levels"
    return f"{cell.label}: fitted beforehand on {frames:,} frames of a random policy, without reward, from {looks}."


def aligned(table: Table, width: int = WIDTH) -> str:
    """Columns side by side for a terminal; long texts of the first column are cut where the line would not fit."""
    header, rows = table
    columns = list(zip(header, *rows, strict=True))
    sizes = [max(map(len, column)) for column in columns]
    sizes[0] = max(8, min(sizes[0], width - sum(sizes[1:]) - 2 * (len(sizes) - 1)))
    lines = []
    for row in (header, ["-" * size for size in sizes], *rows):
        first = row[0] if len(row[0]) <= sizes[0] else row[0][: sizes[0] - 1] + "…"
        cells = [text.ljust(size) for text, size in zip((first, *row[1:]), sizes, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def fitting(table: Table, width: int = WIDTH) -> Table:
    """Without the columns a reader misses least, where a terminal line has no place for all."""
    header, rows = table
    for name in ("norm.", "seeds", "mode"):
        sizes = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        if min(sizes[0], 24) + sum(sizes[1:]) + 2 * (len(sizes) - 1) <= width:
            break
        keep = [index for index, other in enumerate(header) if other != name]
        header, rows = [header[index] for index in keep], [[row[index] for index in keep] for row in rows]
    return header, rows


def wrapped(text: str, width: int = WIDTH) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def text(summary: Summary) -> str:
    """What a command prints at its end."""
    parts = [aligned(fitting(headline(summary)))] if summary.cells else ["no finished runs yet"]
    names, scores = references(summary)
    without_command = (names[:-1], [row[:-1] for row in scores])
    for header, rows in (without_command, against_baseline(summary), aggregates(summary)):
        if rows:
            parts.append(aligned((header[:8], [row[:8] for row in rows])))
    parts += [wrapped(note) for note in notes(summary)]
    if summary.missing:
        parts.append("\n".join(["not in the table:", *(f"  {name}" for name in summary.missing)]))
    return "\n\n".join(parts)


def markdown(summary: Summary) -> str:
    """report.md."""
    parts = [f"# {title(summary)}", plan(summary)]
    parts.append(pipes(headline(summary)) if summary.cells else "No finished runs yet.")
    if references(summary)[1]:
        parts += ["## Reference policies", pipes(references(summary))]
    if against_baseline(summary)[1]:
        parts += ["## Against the baseline", pipes(against_baseline(summary))]
    if aggregates(summary)[1]:
        parts += ["## Over all tasks, normalised", AGGREGATES_NOTE, pipes(aggregates(summary))]
    parts += ["## How to read this", "\n".join(f"- {note}" for note in notes(summary))]
    if summary.missing:
        parts += ["## Not in the table", "\n".join(f"- {name}" for name in summary.missing)]
    for env in summary.envs:
        if published.rows(env):
            parts += [f"## Published, {env}", published_note(summary, env), pipes(beside(summary, env))]
    if studies := sources(summary):
        parts.append("\n".join(f"- {key}: {source}" for key, source in studies.items()))
    parts += ["## Where the numbers come from", "\n".join(f"- {fact}: {value}" for fact, value in origin(summary))]
    return "\n\n".join(parts) + "\n"


def title(summary: Summary) -> str:
    suites = sorted({run.config["suite"] for run in summary.runs if run.config})
    return f"Transfer: {', '.join(suites)}" if suites else "Transfer"


def plan(summary: Summary) -> str:
    """One sentence: how many runs, how long each."""
    steps = sorted({cell.config["steps"] for cell in summary.cells})
    count = sum(len(cell.runs) for cell in summary.cells)
    levels = ", ".join(f"{levels:,}" for levels in summary.levels)
    frames = ", ".join(published.in_words(step) for step in steps)
    if not count:
        return "No finished runs yet."
    return f"{count} finished run{'s' * (count > 1)}; {frames} frames each; {levels} training levels."


def published_note(summary: Summary, env: str) -> str:
    """The protocol of the published rows, and how ours departs from it."""
    ours = departures(summary, env)
    other = f" The protocol differs ({'; or '.join(ours)}): read shapes, not digits." if ours else ""
    return f"{published.protocol(env).about}.{other}"


def sources(summary: Summary) -> dict[str, str]:
    """The studies that the published rows of these tasks come from."""
    named = {row.source for env in summary.envs for row in published.rows(env)}
    return {key: source for key, source in published.SOURCES.items() if key in named}


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


def pipes(table: Table) -> str:
    """A Markdown table, padded so that it also reads as plain text."""
    header, rows = table
    safe = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    sizes = [max(map(len, column)) for column in zip(*safe, strict=True)]
    lines = ["| " + " | ".join(t.ljust(size) for t, size in zip(row, sizes, strict=True)) + " |" for row in safe]
    return "\n".join([lines[0], "|" + "|".join("-" * (size + 2) for size in sizes) + "|", *lines[1:]])
