"""Bundles on the Hugging Face hub, got and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.runs.bundles.address import MANIFEST, Address
from agents.runs.bundles.manifest import check_name
from envs.registry import UsageError

UNREAD = (".gitattributes", ".gitignore")
"""Files of the hub's own in every repository; they are not downloaded."""


def client() -> Any:
    """The package huggingface_hub. UsageError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError("hf:// needs huggingface_hub: pip install -e '.[hub]'") from None
    return huggingface_hub


def download(address: Address) -> Path:
    """Folder of a repository's files, of one commit, in the hub client's cache.

    The names of all files are looked at first: a repository that holds anything else is not downloaded.

    Raises:
        UsageError: it is not there, cannot be reached, or is no bundle.
    """
    package = client()
    try:
        info = package.HfApi().model_info(address.repo, revision=address.revision)
    except Exception as error:  # whatever a foreign service throws
        raise _unreachable(address, "got", error) from None
    names = [file.rfilename for file in info.siblings if file.rfilename not in UNREAD]
    for name in names:
        check_name(name, address)
    if MANIFEST not in names:
        raise UsageError(f"{address} has no {MANIFEST}: it is no bundle of this toolkit")
    try:
        return Path(package.snapshot_download(address.repo, revision=info.sha, allow_patterns=names))
    except Exception as error:
        raise _unreachable(address, "got", error) from None


def upload(folder: Path, address: Address, private: bool) -> str:
    """Send a bundle to a repository, which is made where there is none; returns the address of the new commit.

    Raises:
        UsageError: the repository holds something else, or cannot be written to.
    """
    if address.revision or address.inside != ".":
        raise UsageError(f"--to {address}: a bundle goes to a whole repository; write hf://USER/REPO")
    api = client().HfApi()
    try:
        api.create_repo(address.repo, private=private, exist_ok=True)
        present = [name for name in api.list_repo_files(address.repo) if name not in UNREAD]
    except Exception as error:
        raise _unreachable(address, "made", error) from None
    if present and MANIFEST not in present:
        raise UsageError(f"--to {address}: that repository holds other files, as {present[0]}; name a new one")
    try:
        # Files of an earlier bundle would be in no manifest.
        commit = api.upload_folder(
            repo_id=address.repo, folder_path=str(folder), delete_patterns=["*"], commit_message="Share a bundle"
        )
    except Exception as error:
        raise _unreachable(address, "sent", error) from None
    return f"hf://{address.repo}@{commit.oid}"


def _unreachable(address: Address, what: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:160]
    return UsageError(
        f"{address} could not be {what} ({type(error).__name__}: {reason}); check its name, the network, and your token"
    )
