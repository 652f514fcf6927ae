"""The page as JSON: the committed one, without a network, and no panel that a short run leaves empty."""

import json
import socket
import warnings
from pathlib import Path

import pytest

from benchmarks import dashboard
from benchmarks.tracking.layout import draw
from benchmarks.tracking.workspace import as_document, build_workspace, panel_keys, table_keys
from tests.benchmarks.tracking.conftest import inspected

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the package still uses what pydantic calls deprecated
    pytest.importorskip("wandb_workspaces.workspaces", reason="extra .[dashboard]")
ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("dashboard.json")


@pytest.fixture
def no_network(monkeypatch):
    def refused(*arguments, **options):
        raise AssertionError("no network in this test")

    for owner, name in ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refused)


def test_the_page_is_the_committed_one_and_needs_no_network(no_network, tmp_path, capsys):
    out = tmp_path / "page.json"
    assert dashboard.main(["--dry-run", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"written: {out}, {tmp_path / 'page.svg'}; nothing was sent\n"
    assert json.loads(out.read_text()) == json.loads(GOLDEN.read_text())
    assert out.read_text() == GOLDEN.read_text()


def test_every_name_on_the_page_is_logged_by_a_short_run(experiment):
    from benchmarks.tracking.after_training import parts_of
    from benchmarks.tracking.sync import uploads

    uploads([experiment], write=True)
    (run,) = (experiment / "runs").iterdir()
    history, summary, config = set(), {}, {}
    for part in parts_of(run):
        document = inspected(part, "--summary")
        summary |= document["summary"]
        config |= document["config"]
        for record in inspected(part):
            history |= set(record["history"]["item"]) if record["type"] == "history" else set()
    media = {name for name, value in summary.items() if isinstance(value, dict)}
    document = as_document(build_workspace("", "rl-transfer"))
    panels = [*panel_keys(document), table_keys(document)]
    assert len(panels) > 15
    for panel in panels:
        missing = {
            "summary": set(panel.summary) - set(summary),
            "history": set(panel.history) - history,
            "media": set(panel.media) - media,
            "config": set(panel.config) - set(config),
        }
        assert missing == {kind: set() for kind in missing}, panel.title
        assert panel.summary or panel.history or panel.media


def test_the_drawing_names_every_panel_and_escapes():
    document = as_document(build_workspace("", "rl-transfer"))
    picture = draw(document)
    for panel in panel_keys(document):
        assert panel.section in picture
        for name in (*panel.summary, *panel.history, *panel.media):
            assert f">{name}<" in picture
    assert picture == (ROOT / "benchmarks" / "pictures" / "dashboard.svg").read_text()  # as README shows it
    document["section"]["panelBankConfig"]["sections"][0]["name"] = "<script>"
    assert "<script>" not in draw(document)


def test_the_page_is_not_sent_without_key_or_network(no_key, monkeypatch, capsys):
    assert dashboard.main(["--entity", "team"]) == 2
    assert capsys.readouterr().err.startswith("error: no key for Weights & Biases: set WANDB_API_KEY, or run `wandb l")
    import wandb

    def unreachable():
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(wandb, "Api", unreachable)
    assert dashboard.main(["--project", "mine"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "did not take the page for your/mine (ConnectionError: Name or service not known)" in line


def test_a_page_is_sent_to_the_named_project(no_key, monkeypatch, capsys):
    import wandb_workspaces.workspaces as ws

    sent = []
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(ws.Workspace, "save", lambda self: sent.append((self.entity, self.project, self.name)))
    monkeypatch.setattr(
        ws.Workspace, "url", property(lambda self: f"https://wandb.example/{self.entity}/{self.project}")
    )
    assert dashboard.main(["--entity", "team", "--project", "mine"]) == 0
    assert sent == [("team", "mine", "Which representation generalises?")]
    assert capsys.readouterr().out == "page: https://wandb.example/team/mine\n"
