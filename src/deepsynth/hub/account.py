"""Who speaks to the Hub: token, user name and endpoint, from the environment or a `.env` file."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from deepsynth.errors import RequestError
from deepsynth.printing import masked

ENDPOINT = "https://huggingface.co"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_NAMES = ("HF_TOKEN", "HF_USERNAME", "HF_ENDPOINT")


@dataclass(frozen=True)
class Account:
    """Credentials and the place they are for.

    Attributes:
        token: The access token; never shown, not even by `repr`.
        username: The namespace repositories without one get; None: the token's own user.
        endpoint: Address of the Hub, without a trailing slash.

    Raises:
        RequestError: The endpoint is not one that a token may be sent to.
    """

    token: str | None = field(default=None, repr=False)
    username: str | None = None
    endpoint: str = ENDPOINT

    def __post_init__(self) -> None:
        check_endpoint(self.endpoint)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, folder: Path | None = None
    ) -> Account:
        """`HF_TOKEN`, `HF_USERNAME` and `HF_ENDPOINT`; the environment wins over `.env`.

        The working folder may be anybody's, with its `.env`: a token goes to the endpoint that
        stands beside it, or to the public Hub where none does.

        Args:
            environment: Variables to read; the process's own by default.
            folder: Where `.env` may lie; the working folder by default.

        Raises:
            RequestError: Token and endpoint come from different places, or one is not well formed.
        """
        file = (folder or Path.cwd()) / ".env"
        variables = os.environ if environment is None else environment
        outside = {name: v for name in _NAMES if (v := variables.get(name, "").strip())}
        inside = _written(file)
        values = {**inside, **outside}
        token, endpoint = values.get("HF_TOKEN"), values.get("HF_ENDPOINT")
        if token and endpoint and ("HF_TOKEN" in outside) != ("HF_ENDPOINT" in outside):
            sides = (str(file), "the environment")
            raise RequestError(
                f"it is set here, but HF_TOKEN comes from {sides['HF_TOKEN' in outside]}, "
                "and is not sent to an address from elsewhere.",
                where=f"HF_ENDPOINT in {sides['HF_ENDPOINT' in outside]}",
                hint="Set both in one place, or remove HF_ENDPOINT for the public Hub.",
            )
        username = values.get("HF_USERNAME")
        if username and not _REPO_ID.fullmatch(f"{username}/x"):
            raise RequestError("this is not a name on the Hub.", where="HF_USERNAME")
        return cls(token, username, (endpoint or ENDPOINT).rstrip("/"))

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
        return masked(text)


def check_endpoint(endpoint: str) -> None:
    """See that a token may be sent to `endpoint`: encrypted, or to this machine itself.

    Raises:
        RequestError: It may not; the address is not shown, since it may hold a password.
    """
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or not re.fullmatch(r"[!-~]+", endpoint) or parts.query or parts.fragment:
        what, hint = "it is not the address of a Hub.", "Write https://HOST, or leave it out."
    elif parts.username is not None or parts.password is not None:
        what, hint = "a name or password stands in the address.", "Write https://HOST alone."
    elif parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        what, hint = "what is sent there is not encrypted.", "Write it with https://."
    else:
        return
    raise RequestError(what, where="HF_ENDPOINT", hint=hint)


def client_token() -> Literal[False] | None:
    """What to give the Hub's own client as `token`, where it reads the environment by itself.

    Returns:
        None: it may use its token. False: none, since the environment names another Hub without a
        token of its own, and the one that `hf auth login` stored belongs to the public Hub.

    Raises:
        RequestError: The endpoint is not one that a token may be sent to.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or ENDPOINT
    check_endpoint(endpoint)
    return None if endpoint == ENDPOINT or os.environ.get("HF_TOKEN", "").strip() else False


def _written(file: Path) -> dict[str, str]:
    """The variables of ours in a `.env`, as they are written: `${HF_TOKEN}` is no reference."""
    if not file.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        found = dotenv_values(file, interpolate=False)
    except (OSError, UnicodeDecodeError):
        raise RequestError("this file cannot be read as text.", where=file) from None
    return {name: v for name in _NAMES if (v := (found.get(name) or "").strip())}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
