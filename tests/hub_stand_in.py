"""A stand-in for the Hugging Face hub: what of its client is used here, in memory, with the client's own errors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import errors

Files = dict[str, bytes]


def refusal(kind: type[errors.HfHubHTTPError], status: int, message: str) -> errors.HfHubHTTPError:
    """An error of the client's, as the hub's answer makes it."""
    response: Any = SimpleNamespace(headers={}, request=None, status_code=status)
    return kind(message, response=response)


class StandIn:
    """Does what `HfApi` and `snapshot_download` do.

    Args:
        cache: folder of what is fetched.

    Attributes:
        repositories: by kind and name: the files of every branch and commit.
        spoilt: names of files of which other bytes arrive, of the same length, and how often.
        fault: raised by whatever asks; None: nothing.
        asked: how often files were asked for.
    """

    endpoint = "https://hub.test"

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.repositories: dict[tuple[str, str], dict[str, Files]] = {}
        self.spoilt: dict[str, int] = {}
        self.fault: BaseException | None = None
        self.asked = 0

    def files(self, name: str, revision: str | None = None, repo_type: str = "model") -> Files:
        """What a repository holds."""
        if self.fault is not None:
            raise self.fault
        repository = self.repositories.get((repo_type, name))
        if repository is None:
            raise refusal(errors.RepositoryNotFoundError, 404, f"no {name}")
        if (revision or "main") not in repository:
            raise refusal(errors.RevisionNotFoundError, 404, f"no {revision}")
        return repository[revision or "main"]

    # ---- the client's functions --------------------------------------------------------------------------------------

    def __call__(self, **_: Any) -> StandIn:
        """As `HfApi()`."""
        return self

    def repo_info(self, name: str, *, revision: str | None = None, repo_type: str = "model") -> None:
        self.files(name, revision, repo_type)

    def revision_exists(self, name: str, revision: str, *, repo_type: str = "model") -> bool:
        return revision in self.repositories[repo_type, name]

    def create_repo(self, name: str, *, private: bool | None, exist_ok: bool, repo_type: str) -> str:
        if self.fault is not None:
            raise self.fault
        self.repositories.setdefault((repo_type, name), {"main": {}})
        return f"{self.endpoint}/{name}"

    def create_branch(self, name: str, *, branch: str, exist_ok: bool, repo_type: str) -> None:
        if branch.startswith("refs/"):
            raise refusal(errors.BadRequestError, 400, f"Invalid reference for a branch: {branch}")
        repository = self.repositories[repo_type, name]
        repository[branch] = dict(repository["main"])

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str, revision: str | None, repo_type: str
    ) -> None:
        folder = Path(folder_path)
        sent = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        repository = self.repositories[repo_type, repo_id]
        whole = repository[revision or "main"] | sent
        commit = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        repository[revision or "main"] = repository[commit] = whole

    def snapshot_download(
        self, name: str, *, revision: str | None, allow_patterns: Sequence[str], force_download: bool
    ) -> str:
        self.asked += 1
        folder = self.cache / name.replace("/", "--") / (revision or "main").replace("/", "-")
        if self.fault is not None and folder.exists():
            return str(folder)
        for path, data in self.files(name, revision).items():
            target = folder / path
            if any(fnmatch(path, pattern) for pattern in allow_patterns) and (force_download or not target.exists()):
                target.parent.mkdir(parents=True, exist_ok=True)
                spoilt = self.spoilt.get(path, 0) > 0
                self.spoilt[path] = self.spoilt.get(path, 0) - spoilt
                target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if spoilt else data)
        return str(folder)
