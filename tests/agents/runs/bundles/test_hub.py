"""Bundles on the hub, by a client that keeps repositories as folders; no network."""

import hashlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from agents.runs.bundles import hub
from agents.runs.bundles.address import MANIFEST, Address, is_address, parse
from agents.runs.bundles.opening import opened
from agents.runs.load import load_agent
from benchmarks.share import main
from envs.registry import UsageError


class Hub:
    """A stub of huggingface_hub: each repository is a folder of commits."""

    def __init__(self, root: Path):
        self.root, self.downloads, self.private = root, [], {}

    def HfApi(self):  # noqa: N802
        return self

    def commits(self, repo):
        folder = self.root / repo
        if not folder.exists():
            raise LookupError(f"404 Client Error\nRepository {repo} not found")
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def create_repo(self, repo, private, exist_ok):
        self.private[repo] = private
        assert exist_ok
        if not (self.root / repo).exists():
            first = self.root / repo / "0000"
            first.mkdir(parents=True)
            (first / ".gitattributes").touch()

    def list_repo_files(self, repo):
        newest = self.commits(repo)[-1]
        return [path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()]

    def upload_folder(self, repo_id, folder_path, delete_patterns, commit_message):
        assert delete_patterns == ["*"]
        digest = hashlib.sha1((Path(folder_path) / MANIFEST).read_bytes()).hexdigest()
        target = shutil.copytree(folder_path, self.root / repo_id / digest, dirs_exist_ok=True)
        (target / ".gitattributes").touch()
        return SimpleNamespace(oid=digest)

    def model_info(self, repo, revision=None):
        commits = {path.name: path for path in self.commits(repo)}
        newest = commits[revision] if revision else self.commits(repo)[-1]
        names = [path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()]
        return SimpleNamespace(sha=newest.name, siblings=[SimpleNamespace(rfilename=name) for name in names])

    def snapshot_download(self, repo, revision, allow_patterns):
        self.downloads.append((repo, revision))
        target = self.root / "cache" / revision
        for name in allow_patterns:  # links to files, as the client's cache has them
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).unlink(missing_ok=True)
            (target / name).symlink_to(self.root / repo / revision / name)
        return str(target)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    stub = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "client", lambda: stub)
    return stub


def test_a_bundle_goes_to_the_hub_and_comes_back_as_it_was(stub, experiment, shared, capsys):
    (run, *_) = sorted((shared / "runs").iterdir())
    assert main([str(experiment / "runs" / run.name), "--to", "hf://me/agent", "--private"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (commit,) = (path.name for path in (stub.root / "me" / "agent").iterdir() if path.name != "0000")
    assert printed == [f"shared: {run.name}", f"hf://me/agent@{commit}"]
    assert stub.private == {"me/agent": True}
    card = (stub.root / "me" / "agent" / commit / "README.md").read_text()
    assert 'agent = load_agent("hf://me/agent")' in card
    first = load_agent(run)
    for address in (
        "hf://me/agent",
        Path("hf://me/agent"),
        f"hf://me/agent@{commit}",
        f"hf://me/agent/runs/{run.name}",
    ):
        agent = load_agent(address)
        assert all(
            torch.equal(value, agent.policy.state_dict()[key]) for key, value in first.policy.state_dict().items()
        )
    assert set(stub.downloads) == {("me/agent", commit)}
    # another bundle in its place: an address with a revision still names the first one
    assert main([str(experiment), "--row", "blind", "--to", "hf://me/agent"]) == 0
    assert load_agent("hf://me/agent").config.repr == "blind"
    assert load_agent(f"hf://me/agent@{commit}").config.repr == "cnn"


def test_a_repository_with_files_of_another_kind_is_not_downloaded(stub, shared):
    for name, message in (("evil.pkl", "evil.pkl: only"), ("setup.py", "setup.py: only")):
        target = shutil.copytree(shared, stub.root / "me" / "bad" / "1", dirs_exist_ok=True)
        (target / name).touch()
        with pytest.raises(UsageError, match=message):
            opened("hf://me/bad")
        (target / name).unlink()
    (target / "readme-of-mine.md").touch()
    with pytest.raises(UsageError, match=r"which MANIFEST\.sha256 does not list"):
        opened("hf://me/bad")
    (target / MANIFEST).unlink()
    with pytest.raises(UsageError, match="it is no bundle of this toolkit"):
        opened("hf://me/bad")
    assert [repo for repo, _ in stub.downloads] == ["me/bad"]


def test_a_repository_of_other_files_is_not_written_to(stub, experiment, capsys):
    folder = stub.root / "me" / "mine" / "1"
    folder.mkdir(parents=True)
    (folder / "thesis.md").touch()
    assert main([str(experiment), "--row", "blind", "--to", "hf://me/mine"]) == 2
    assert "holds other files, as thesis.md; name a new one" in capsys.readouterr().err
    assert main([str(experiment), "--row", "blind", "--to", "hf://me/x@main"]) == 2
    assert "goes to a whole repository" in capsys.readouterr().err


def test_what_goes_wrong_at_the_hub_is_one_line(stub, monkeypatch, experiment, capsys):
    with pytest.raises(
        UsageError, match=r"hf://me/none could not be got \(LookupError: 404 Client Error Repository"
    ) as e:
        opened("hf://me/none")
    assert "\n" not in str(e.value)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main([str(experiment), "--row", "blind", "--to", "hf://me/agent"]) == 2
    assert capsys.readouterr().err == "error: hf:// needs huggingface_hub: pip install -e '.[hub]'\n"


def test_addresses_are_told_from_paths():
    assert parse("hf://me/my.agent@v1.0/runs/x-1") == Address("me/my.agent", "v1.0", "runs/x-1")
    assert parse(Path("hf://me/agent")) == Address("me/agent")
    assert str(parse("hf:/me/agent@abc/")) == "hf://me/agent@abc"
    for wrong in ("hf://me", "hf://me/agent/etc/passwd", "hf://me/agent/runs/..", "hf://a/b@c d", "hf://me/../x@y/z"):
        with pytest.raises(UsageError, match="is no bundle on the hub; write hf://USER/REPO"):
            parse(wrong)
    assert not is_address("runs/hf:/x")
