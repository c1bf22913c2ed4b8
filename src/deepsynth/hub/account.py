"""Who speaks to the Hub: token, user name and endpoint, from the environment or a `.env` file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepsynth.errors import RequestError

ENDPOINT = "https://huggingface.co"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{4,}")


@dataclass(frozen=True)
class Account:
    """Credentials and the place they are for.

    Attributes:
        token: The access token; never shown, not even by `repr`.
        username: The namespace repositories without one get; None: the token's own user.
        endpoint: Address of the Hub, without a trailing slash.
    """

    token: str | None = field(default=None, repr=False)
    username: str | None = None
    endpoint: str = ENDPOINT

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, folder: Path | None = None
    ) -> Account:
        """`HF_TOKEN`, `HF_USERNAME` and `HF_ENDPOINT`; the environment wins over `.env`.

        Args:
            environment: Variables to read; the process's own by default.
            folder: Where `.env` may lie; the working folder by default.
        """
        file = (folder or Path.cwd()) / ".env"
        values: dict[str, str] = {}
        if file.is_file():
            from dotenv import dotenv_values

            values = {k: v for k, v in dotenv_values(file).items() if v}
        variables = os.environ if environment is None else environment
        values |= {k: v for k, v in variables.items() if v}
        return cls(
            token=(values.get("HF_TOKEN") or "").strip() or None,
            username=(values.get("HF_USERNAME") or "").strip() or None,
            endpoint=(values.get("HF_ENDPOINT") or ENDPOINT).strip().rstrip("/"),
        )

    def require_token(self) -> str:
        """The token.

        Raises:
            RequestError: There is none.
        """
        if self.token is None:
            raise RequestError(
                "there is no access token.",
                where="HF_TOKEN",
                hint=f"Make one at {self.endpoint}/settings/tokens; write HF_TOKEN=... into .env "
                "(see .env.example). After `hf auth login`: "
                "export HF_TOKEN=$(hf auth token)",
            )
        return self.token

    def redact(self, text: str) -> str:
        """`text` without this token, nor anything else that looks like one."""
        if self.token:
            text = text.replace(self.token, "hf_***")
        return _TOKEN.sub("hf_***", text)


def check_repo_id(name: str) -> str:
    """`name` if the Hub would accept it as `NAME` or `USER/NAME`.

    Raises:
        RequestError: It would not.
    """
    if not _REPO_ID.fullmatch(name) or "--" in name or ".." in name or name.endswith(".git"):
        raise RequestError(
            f"{name!r} is not a repository name.",
            where="--repo",
            hint="Write NAME or USER/NAME: letters, digits, '-', '_' and '.', at most 96 "
            "characters, without '--' or '..'.",
        )
    return name


def check_date(date: str) -> str:
    """`date` if it is `YYYY-MM` or `YYYY-MM-DD`.

    Raises:
        RequestError: It is not.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?", date):
        raise RequestError(
            f"{date!r} is not a date.",
            where="--revision-date",
            hint="Write it as 2026-11 or 2026-11-30.",
        )
    return date


def dataset_repo_name(source: str, revision_date: str | None = None) -> str:
    """The repository of a generated dataset: `mlsum_fr` -> `deepsynth-mlsum-fr-images[-2026-11]`.

    Raises:
        RequestError: The date is not one.
    """
    name = f"deepsynth-{source.replace('_', '-')}-images"
    return name if revision_date is None else f"{name}-{check_date(revision_date)}"
