"""What publishing a data set and publishing a model share: a repository's name, the token, one upload, and the Hub's refusals in words."""

import os
from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from data_prep.records import BadInput


def check(repo: str, upload: bool) -> None:
    """BadInput when `repo` is no owner/name, or when an upload is wanted to nobody's repository or without HF_TOKEN."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise BadInput(f"--repo {repo!r}: {error}") from error
    if repo.count("/") != 1:
        raise BadInput(f"--repo {repo!r}: write owner/name")
    if upload and repo.startswith("your-name/"):  # the Makefile's default
        raise BadInput(f"--repo {repo!r}: put your own name in place of your-name")
    if upload and not os.environ.get("HF_TOKEN"):
        raise BadInput("there is no token: set HF_TOKEN in the environment to one that may write to the repository")


def upload(folder: Path, repo: str, kind: str, public: bool, replaced: list[str], message: str) -> str:
    """Create the repository of a `kind` (dataset, model) if it is not there and upload the folder as one commit; returns its address.

    `replaced`: patterns of the files that go from the repository when the folder lacks them. Needs HF_TOKEN. Raises BadInput in one line.
    """
    api = HfApi(token=os.environ["HF_TOKEN"])
    try:
        api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        # one commit, so that nobody downloads a half; upload_large_folder makes several, and tries again for ever where it is refused
        done = api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder, delete_patterns=replaced, commit_message=message)
    except OfflineModeIsEnabled as error:
        raise BadInput(f"{repo}: HF_HUB_OFFLINE forbids the network: unset it to upload") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = {401: "the token is not valid", 403: "the token may not write there"}.get(status, str(error).splitlines()[0])
        raise BadInput(f"{repo}: the Hub refused with status {status}: {why}; check the name, and that HF_TOKEN may write to it") from error
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        raise BadInput(f"{repo}: the Hub cannot be reached ({type(error).__name__}: {error}); check the network, and run the same command again") from error
    return done.commit_url
