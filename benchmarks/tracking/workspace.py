"""The project's page on Weights & Biases, as code: sections of panels over the names that every run logs.

Bars and bands are means over the runs of one row, which differ in nothing but their seed (``figures.run_facts``). No
panel is of one suite: ``result/...`` stands for the splits that a task is compared by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from envs.registry import UsageError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "Which representation generalises?"
GROUP = "row"
"""Key of the configuration that runs are grouped by."""
BARS: Final = "stderr"
BANDS: Final = "stddev"
"""Spread over seeds: standard error of a mean in bar charts, standard deviation around curves."""
TABLE = ("result/held_out_return", "result/gap", "result/train_return", "result/fall", "cost/env_steps", "cost/seconds")
"""Columns pinned in the table of runs."""
RUNS_SHOWN = 100


@dataclass(frozen=True)
class PanelKeys:
    """Names that one panel of a page reads."""

    section: str
    title: str
    kind: str
    """As Weights & Biases calls it."""
    summary: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    config: tuple[str, ...] = ()


def build_workspace(entity: str, project: str) -> Workspace:
    """The page; nothing is read from the network.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise UsageError("benchmarks.dashboard needs wandb-workspaces: pip install -e '.[dashboard]'") from None
    sections = [
        ws.Section(name=name, panels=panels, is_open=True)
        for name, panels in (*_results(), *_over_training(), *_looks(), *_costs())
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="global_step", max_runs=RUNS_SHOWN),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Config(GROUP)],
            order=[ws.Ordering(ws.Summary(TABLE[0]), ascending=False)],
            pinned_columns=[f"summary:{name}" for name in TABLE],
        ),
    )


def _results() -> Iterator[tuple[str, list[Any]]]:
    import wandb_workspaces.reports.v2 as wr

    def summary(name: str) -> Any:
        return wr.SummaryMetric(f"result/{name}")

    yield (
        "Gap by method",
        [
            _bars("Return on held-out levels, mean over seeds", "result/held_out_return"),
            _bars("Gap: return on training levels minus held-out ones", "result/gap"),
            _bars("Return on training levels", "result/train_return"),
        ],
    )
    yield (
        "Training against held-out levels",
        [
            wr.ScatterPlot(
                title="A run a point; on the diagonal there is no gap",
                x=summary("train_return"),
                y=summary("held_out_return"),
            ),
            wr.ScatterPlot(
                title="Does the last validation return foretell it?",
                x=summary("validation_return"),
                y=summary("held_out_return"),
            ),
        ],
    )
    levels: dict[str, Any] = {"x": wr.Config("train_levels"), "log_x": True}
    yield (
        "Gap against the number of training levels",
        [
            wr.ScatterPlot(title="Gap", y=summary("gap"), **levels),
            wr.ScatterPlot(title="Return on held-out levels", y=summary("held_out_return"), **levels),
        ],
    )


def _over_training() -> Iterator[tuple[str, list[Any]]]:
    yield (
        "Learning curves",
        [
            _curves("Return of the newest training episodes", "train/return"),
            _curves("Return on validation levels", "eval/validation/return"),
            _curves("Return on training levels", "eval/train/return"),
            _curves("Gap to validation levels", "eval/gap"),
            _curves("Entropy of the policy", "loss/entropy"),
            _curves("Effective rank of the features", "representation/effective_rank"),
        ],
    )


def _looks() -> Iterator[tuple[str, list[Any]]]:
    import wandb_workspaces.reports.v2 as wr

    yield (
        "Probe scores",
        [
            _bars("R2 of linear read-outs, training levels", "probe/train"),
            _bars("R2 of linear read-outs, held-out levels", "probe/held_out"),
        ],
    )
    yield "Bonus maps", [wr.MediaBrowser(title="Bonus over the cells of a level", media_keys=["pictures/bonus"])]
    videos = ["videos/train", "videos/held_out"]
    yield (
        "Episodes",
        [
            wr.MediaBrowser(title="Median episode by return: training, held-out levels", media_keys=videos),
            wr.MediaBrowser(title="First frames of the splits", media_keys=["pictures/splits"]),
        ],
    )


def _costs() -> Iterator[tuple[str, list[Any]]]:
    import wandb_workspaces.reports.v2 as wr

    steps = ("cost/pretrain_env_steps", "cost/train_env_steps")
    yield (
        "Costs",
        [
            _bars("Environment steps of both phases", *steps),
            _bars("Seconds of both phases", "cost/pretrain_seconds", "cost/train_seconds"),
            wr.ScatterPlot(
                title="Seconds in all, and the return on held-out levels",
                x=wr.SummaryMetric("cost/seconds"),
                y=wr.SummaryMetric("result/held_out_return"),
            ),
            _curves("Frames per second of training", "time/frames_per_second"),
        ],
    )


def _bars(title: str, *metrics: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=title,
        metrics=list(metrics),
        groupby=wr.Config(GROUP),
        groupby_aggfunc="mean",
        groupby_rangefunc=BARS,
    )


def _curves(title: str, metric: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x="global_step",
        y=[metric],
        groupby=wr.Config(GROUP),
        groupby_aggfunc="mean",
        groupby_rangefunc=BANDS,
    )


def push(entity: str, project: str) -> str:
    """Send the page, into a project of an entity; returns its address.

    Raises:
        UsageError: it could not be sent.
    """
    import wandb

    try:
        entity = entity or str(wandb.Api().default_entity or "")
        workspace = build_workspace(entity, project)
        workspace.save()
    except UsageError:
        raise
    except Exception as error:  # whatever a foreign service throws
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"Weights & Biases did not take the page for {entity or 'your'}/{project} ({type(error).__name__}: "
            f"{reason}); check the network, the key, --entity and --project, or see it by --dry-run"
        ) from None
    return str(workspace.url)


def as_document(workspace: Workspace) -> dict[str, Any]:
    """The page as ``save`` would send it, as JSON; panels are numbered in place of their random ids."""
    # The one way to have it without sending it.
    text = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    document: dict[str, Any] = json.loads(text)
    for number, panel in enumerate(panel for section in _sections(document) for panel in section["panels"]):
        panel["__id__"] = f"panel-{number}"
    return document


def panel_keys(document: Mapping[str, Any]) -> list[PanelKeys]:
    """The names that each panel of a page's JSON reads, in order."""
    return [_keys(section["name"], panel) for section in _sections(document) for panel in section["panels"]]


def table_keys(document: Mapping[str, Any]) -> PanelKeys:
    """The names that the table of runs reads: pinned columns, order and grouping."""
    (run_set,) = document["section"]["runSets"]
    names = [tuple(name.split(":", 1)) for name in run_set["runFeed"]["columnPinned"]]
    names += [(key["key"]["section"], key["key"]["name"]) for key in run_set["sort"]["keys"]]
    names += [(key["section"], key["name"]) for key in run_set["grouping"]]
    return _sorted_by_kind("", "Runs", "Table", [f"{kind}:{name}" for kind, name in names])


def _sections(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections: list[dict[str, Any]] = document["section"]["panelBankConfig"]["sections"]
    return sections


def _keys(section: str, panel: Mapping[str, Any]) -> PanelKeys:
    config, kind = panel["config"], panel["viewType"]
    names = [config[axis] for axis in ("xAxis", "yAxis", "zAxis") if axis in config]
    names += config.get("metrics", [])
    names += [f"config:{config['groupBy']}"] if "groupBy" in config else []
    title = config.get("chartTitle", "")
    plain = [name if ":" in name else f"history:{name}" for name in names]
    if kind == "Bar Chart":  # which reads the last value of what it names
        plain = [name.replace("history:", "summary:", 1) for name in plain]
    return _sorted_by_kind(section, title, kind, plain, tuple(config.get("mediaKeys", ())))


def _sorted_by_kind(section: str, title: str, kind: str, names: list[str], media: tuple[str, ...] = ()) -> PanelKeys:
    by_kind: dict[str, dict[str, None]] = {"summary": {}, "history": {}, "config": {}, "run": {}}
    for name in names:
        place, _, key = name.partition(":")
        by_kind[place][key.removesuffix(".value")] = None
    summary, history, config = (tuple(by_kind[place]) for place in ("summary", "history", "config"))
    return PanelKeys(section, title, kind, summary, history, media, config)
