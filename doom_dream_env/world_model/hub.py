"""Weights and players from the Hugging Face hub: found by `owner/name` or `owner/name@revision`.

What was fetched once stays in the hub's own cache (`HF_HOME`), and is found there when the hub cannot be reached. What
is sent there is in `doom_dream_env.commands.publish`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from doom_dream_env.errors import UserError

NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?")
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)
STILL_WORKS = "what ships with the package (--weights nano), folders, and what was fetched before work without it"


def split_name(name: str, revision: str | None = None) -> tuple[str, str | None] | None:
    """Repository and revision of a hub id; None if the text is none.

    Args:
        name: `owner/name` or `owner/name@revision`.
        revision: a branch, tag or commit, where the name has none.

    Raises:
        ValueError: if the name has another revision than the one asked for.
    """
    found = NAME.fullmatch(name)
    if found is None:
        return None
    named = found["revision"]
    if named and revision and named != revision:
        raise UserError(f"{name!r} names revision {named!r}, not {revision!r}; give one of them")
    return found["repository"], named or revision


def find_folder(name: str | Path, patterns: Sequence[str], check: Callable[[Path], object]) -> Path:
    """The folder of a path, or of a hub id where no such path exists.

    Args:
        name: the path, `owner/name` or `owner/name@revision`.
        patterns: as for `fetch`, which says what is raised.
        check: as for `fetch`.
    """
    folder = Path(name).expanduser()  # a shell leaves the ~ of --weights=~/mine alone
    on_hub = split_name(str(name))
    return folder if on_hub is None or folder.exists() else fetch(*on_hub, patterns, check)


def fetch(
    repository: str,
    revision: str | None,
    patterns: Sequence[str],
    check: Callable[[Path], object],
) -> Path:
    """The folder of a model's repository in the hub's cache, downloaded if it is not there.

    A download that was cut short goes on where it was. Files that arrived damaged, or were changed in the cache since,
    are fetched once more.

    Args:
        repository: `owner/name`.
        revision: a branch, tag or commit; None: the main branch.
        patterns: of the files that are wanted.
        check: raises ValueError or FileNotFoundError if the folder is damaged or not whole.

    Raises:
        FileNotFoundError: if there is no such repository or revision, or the hub cannot be reached and the cache does
            not have it.
        ValueError: if the hub's own files are damaged, or if no repository can have such a name.
        OSError: if the cache cannot be written.
    """
    folder = _download(repository, revision, patterns, again=False)
    try:
        check(folder)
    except (ValueError, FileNotFoundError):
        folder = _download(repository, revision, patterns, again=True)
        try:
            check(folder)
        except (ValueError, FileNotFoundError) as error:
            name = described(repository, revision)
            raise type(error)(f"{name} was fetched anew and is still damaged, so it is on the hub: {error}") from error
    return folder


def _download(repository: str, revision: str | None, patterns: Sequence[str], *, again: bool) -> Path:
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    name = described(repository, revision)
    try:
        if again:  # without an answer, what is in the cache would be returned once more
            HfApi().repo_info(repository, revision=revision or constants.DEFAULT_REVISION)
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(patterns), force_download=again)
        )
    except errors.HFValidationError as error:
        raise UserError(f"no repository on the hub can be called {name}: {reason(error)}") from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{repository!r} on the hub has no revision {revision!r}") from error
    except errors.GatedRepoError as error:
        raise FileNotFoundError(f"{name} wants its terms accepted: visit its page, then `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"there is no model {name} at {constants.ENDPOINT}, or it is private: check the name, or `hf auth login`"
        ) from error
    except unreachable() as error:
        if is_of_disk(error):
            raise OSError(
                error.errno, f"{name} could not be kept in the cache ({constants.HF_HUB_CACHE}): {reason(error)}"
            ) from error
        cached = "damaged" if again else "not"
        raise FileNotFoundError(
            f"{name} is no folder, is {cached} in the cache ({constants.HF_HUB_CACHE}), and the hub at "
            f"{constants.ENDPOINT} could not be reached ({reason(error)}); {STILL_WORKS}"
        ) from error


def described(repository: str, revision: str | None) -> str:
    """A repository's name as people read it."""
    return repr(repository if revision is None else f"{repository}@{revision}")


def unreachable() -> tuple[type[BaseException], ...]:
    """What `huggingface_hub` raises when the hub does not answer as it should: of its own and of its HTTP library."""
    from huggingface_hub import errors

    http = [base for base in errors.HfHubHTTPError.__mro__ if base.__module__.split(".")[0] in ("httpx", "httpx2")]
    return (OSError, errors.HfHubHTTPError, *http)


def is_of_disk(error: BaseException) -> TypeGuard[OSError]:
    """Does an error come from this machine's files, not from the network? Only those name the file."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno in DISK)


def reason(error: BaseException) -> str:
    """The first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
