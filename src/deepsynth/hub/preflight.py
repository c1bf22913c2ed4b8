"""Everything that can be known to be wrong before a byte moves."""

from __future__ import annotations

from typing import Any

from deepsynth.errors import RequestError
from deepsynth.hub.account import Account, check_repo_id
from deepsynth.hub.caches import cache_folders, probe
from deepsynth.hub.content import Content
from deepsynth.hub.failure import HubError
from deepsynth.hub.remote import Remote, RemoteState, whoami
from deepsynth.hub.retry import Retry
from deepsynth.hub.transfer import Transport

_MAY_WRITE = frozenset({"write", "admin", "contributor"})


def repository(repo: str, account: Account, retry: Retry) -> str:
    """The full name `USER/NAME` the token may write to.

    Raises:
        RequestError: The name is not one, the token is not valid or may only read, or the
            namespace is someone else's.
    """
    check_repo_id(repo)
    identity = whoami(account, retry)
    user = str(identity["name"])
    name = repo if "/" in repo else f"{account.username or user}/{repo}"
    namespace = name.split("/")[0]
    role = token_role(identity)
    if role == "read":
        raise RequestError(
            f"the token of {user} may only read.",
            where="HF_TOKEN",
            hint=f"Make one with write access at {account.endpoint}/settings/tokens.",
        )
    if namespace != user:
        organisations: dict[str, str] = {
            org["name"]: org.get("roleInOrg") or "write" for org in identity.get("orgs") or []
        }
        if organisations.get(namespace) not in _MAY_WRITE:
            mine = ", ".join([user, *(o for o, r in organisations.items() if r in _MAY_WRITE)])
            raise RequestError(
                f"{user} may not write to {namespace}.",
                where=f"--repo {name}",
                hint=f"The token can write to: {mine}.",
            )
    return name


def visibility(content: Content, state: RemoteState, private: bool, url: str) -> None:
    """Make sure that what is private stays private.

    Raises:
        RequestError: The licence, or the repository as it is, does not allow what was asked.
    """
    if not private and content.private_why:
        raise RequestError(
            f"it may not be public: {content.private_why}.",
            where=str(content.folder),
            hint="Leave out --public, or name in the card (`license:`) one that allows it.",
        )
    if not state.exists or state.private == private:
        return
    is_now, asked = ("private", "public") if state.private else ("public", "private")
    raise RequestError(
        f"the repository is {is_now}, and {asked} was asked for.",
        where=url,
        hint=f"Publish with --{is_now}, take another name, or change it at {url}/settings.",
    )


def card(text: str, remote: Remote) -> None:
    """Make sure that the Hub takes the card, which it says only after the data have arrived.

    Raises:
        RequestError: It would not; with its own words.
    """
    if errors := remote.errors_of_card(text):
        raise RequestError(
            f"the Hub would refuse the card: {'; '.join(errors)}",
            where=remote.url,
            hint="Correct README.md, or what it is made of, and publish again; nothing was sent.",
        )


def room(transport: Transport) -> None:
    """Make sure that Xet, where it was asked for by name, has a cache it can work in.

    Raises:
        HubError: It has not; `auto` would have used LFS.
    """
    if transport != "xet":
        return
    found = probe(cache_folders()["HF_XET_CACHE"])
    if found.error:
        raise HubError(
            f"the Xet cache cannot be written: {found.error}.",
            where=found.path,
            hint='This is what the client reports as "MerkleDB Shard error: File I/O error". Free '
            "some space, set HF_XET_CACHE to another disk, or use --transport auto or lfs.",
        )


def token_role(identity: dict[str, Any]) -> str:
    """read, write or fineGrained; empty when the Hub does not say."""
    token = (identity.get("auth") or {}).get("accessToken") or {}
    return str(token.get("role") or "")
