"""Parquet files of a Hub dataset, in the Hub client's own cache."""

from __future__ import annotations

from pathlib import Path

from deepsynth.errors import DataError, DeepSynthError


def download(repo: str, *, revision: str | None, config: str | None) -> tuple[Path, str]:
    """Bring the parquet files of a dataset here; returns their folder and the commit.

    The commit is asked for first, with the caller's token: without that the client would quietly
    hand out an old copy when the Hub cannot be reached.

    Raises:
        DataError: There is no parquet in it.
        DeepSynthError: The Hub refused or cannot be reached; the message says which.
    """
    from huggingface_hub import HfApi, snapshot_download

    from deepsynth.hub.account import Account
    from deepsynth.hub.failure import classify, explain

    account = Account.from_environment()
    pattern = f"{config}/**.parquet" if config else "**.parquet"
    try:
        api = HfApi(endpoint=account.endpoint, token=account.token)
        commit = str(api.dataset_info(repo, revision=revision).sha)
        folder = Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                revision=commit,
                allow_patterns=[pattern],
                endpoint=account.endpoint,
                token=account.token,
            )
        )
    except Exception as error:  # the client raises the classes of several HTTP libraries
        failure = classify(error)
        if failure.kind == "network":
            raise DeepSynthError(
                f"the Hub cannot be reached: {account.redact(failure.detail)}",
                where=repo,
                hint="Check the network, or download its parquet files and give their folder.",
            ) from error
        where = f"{repo}@{revision}" if revision else repo
        raise explain(failure, doing="fetching it", where=where, account=account) from error
    folder = folder / config if config else folder
    if not any(folder.rglob("*.parquet")):
        raise DataError(
            "has no parquet files", where=repo, hint="Datasets of scripts cannot be read."
        )
    return folder, commit
