"""Datasets by their short names: which repository is meant; and rows of several in shares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from deepsynth.data.registry import known_sources
from deepsynth.errors import DataError, RequestError
from deepsynth.hub.account import Account, dataset_repo_name
from deepsynth.hub.remote import list_remote, whoami
from deepsynth.hub.retry import PATIENT, Retry


def resolve_datasets(
    names: Iterable[str],
    prefix: str | None = None,
    *,
    account: Account | None = None,
    retry: Retry = PATIENT,
) -> list[str]:
    """The repositories that short names mean: `mlsum_fr` -> `USER/deepsynth-mlsum-fr-images`.

    Args:
        names: Short names, `all` for every published one, or `USER/NAME`; each may carry
            `@revision`.
        prefix: Whose repositories; the caller's by default.
        account: Credentials; from the environment or `.env` by default.
        retry: Patience with failures that may pass.

    Returns:
        `USER/NAME[@revision]`, in the order asked for, each once. `all` leaves out those with a
        date in their name: they hold the same sources again.

    Raises:
        DataError: One is not published; with those that are, and the command that makes it.
    """
    asked = [name.removeprefix("hub:") for name in names]
    if all("/" in name.partition("@")[0] for name in asked):
        return list(dict.fromkeys(asked))
    account = account or Account.from_environment()
    owner = prefix or account.username or str(whoami(account, retry)["name"])
    published = [item.repo for item in list_remote(owner, account=account, retry=retry)]
    found: list[str] = []
    for spec in asked:
        name, at, revision = spec.partition("@")
        repo = f"{owner}/{dataset_repo_name(name)}"
        if name == "all":
            undated = [repo for repo in published if re.search(r"/deepsynth-.+-images$", repo)]
            if not undated:
                raise _missing("all", owner, published)
            found += undated
        elif "/" in name:
            found.append(spec)
        elif repo in published:
            found.append(f"{repo}{at}{revision}")
        else:
            raise _missing(name, owner, published)
    return list(dict.fromkeys(found))


def _missing(name: str, owner: str, published: list[str]) -> DataError:
    there = ", ".join(published) or "nothing yet"
    known = list(known_sources())
    short = [repo.split("/")[1].removeprefix("deepsynth-") for repo in published]
    mine = [repo.removesuffix("-images").replace("-", "_") for repo in short]
    near = get_close_matches(name, [*mine, *known], n=1) if name not in known else []
    hint = f"Did you mean {near[0]}? " if near else ""
    hint += f"Published by {owner}: {there}."
    make = (near or [name])[0] if name != "all" else "mlsum_fr"
    if make in known:
        hint += f" To make it: deepsynth generate {make} --publish"
    elif name != "all":
        hint += (
            f" Known sources: {', '.join(known)}; from a file of your own: "
            f"deepsynth generate {name}.csv --publish"
        )
    what = f"{owner} has published no dataset {name}." if name != "all" else "there is none."
    return DataError(what, where="--datasets", hint=hint)


def interleave(groups: Sequence[Sequence[int]], weights: Sequence[float], seed: int) -> list[int]:
    """Row numbers of several groups in random order, each group with its share.

    Args:
        groups: Row numbers; those of a group keep their order.
        weights: Share of each group; need not add up to 1.
        seed: Of the order.

    Returns:
        Rows drawn until the first group is used up, none twice, so that the shares hold.

    Raises:
        RequestError: There is not one weight above 0 for each group.
    """
    if len(weights) != len(groups) or min(weights, default=0) <= 0:
        raise RequestError(
            f"{len(groups)} datasets need {len(groups)} weights above 0, not {list(weights)}.",
            where="weights",
        )
    from datasets import Dataset, interleave_datasets

    total = sum(weights)
    mixed = interleave_datasets(
        [Dataset.from_dict({"row": list(group)}) for group in groups],
        probabilities=[weight / total for weight in weights],
        seed=seed,
        stopping_strategy="first_exhausted",
    )
    return list(mixed["row"])
