"""What of this machine stands between the user and the Hub, with a remedy for each finding."""

from __future__ import annotations

import email.utils
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from deepsynth.checks import Finding, Severity
from deepsynth.errors import DeepSynthError, RequestError, install_extra
from deepsynth.hub.account import Account
from deepsynth.hub.caches import XET_ROOM, cache_folders, probe
from deepsynth.hub.preflight import token_role
from deepsynth.hub.remote import whoami
from deepsynth.hub.retry import Retry

LOW_BYTES = 5 << 30
CLOCK_SECONDS = 120
"""Signed storage addresses live for minutes: a clock off by more than this breaks transfers."""

_NO_EFFECT = {
    "HF_HUB_ENABLE_XET": "it has never existed; Xet is used where hf_xet is installed, and "
    "HF_HUB_DISABLE_XET=1 (or --transport lfs) turns it off",
    "HF_HUB_ENABLE_HF_TRANSFER": "hf_transfer is no longer used; for speed there is "
    "HF_XET_HIGH_PERFORMANCE=1",
    "HUGGINGFACE_HUB_CACHE": "it is an old name; write HF_HUB_CACHE",
    "TRANSFORMERS_CACHE": "it is an old name; write HF_HOME",
}
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_ON = ("1", "ON", "YES", "TRUE")


def doctor(
    account: Account | None = None, *, environment: Mapping[str, str] | None = None
) -> list[Finding]:
    """Examine token, endpoint, clock, caches, versions, variables and devices.

    Args:
        account: Credentials; from the environment or `.env` by default.
        environment: Variables to judge; the process's own by default.

    Returns:
        Findings, the worst first; never an exception for something that is merely wrong.
    """
    env = os.environ if environment is None else environment
    findings = [*_variables(env), *_caches(env), *_versions(), *_devices()]
    try:
        account = account or Account.from_environment()
        findings += [*_endpoint(account), *_token(account)]
    except RequestError as error:
        place = error.where or "HF_ENDPOINT"
        findings.append(
            Finding(Severity.ERROR, "hub-endpoint", place, error.what, error.hint or "")
        )
    return sorted(findings, key=lambda finding: -finding.severity)


def _variables(env: Mapping[str, str]) -> Iterator[Finding]:
    for name, why in _NO_EFFECT.items():
        if env.get(name):
            yield Finding(
                Severity.WARNING,
                "hub-variable-without-effect",
                name,
                f"{name} is set but does nothing: {why}.",
                f"Remove {name}.",
            )
    for name in _OFFLINE:
        if env.get(name, "").upper() in _ON:
            yield Finding(
                Severity.ERROR,
                "hub-offline",
                name,
                f"{name} is set: the client will not speak to the Hub.",
                f"unset {name}; to use what is cached, `--offline` says so for one command.",
            )
    if env.get("HF_HUB_DISABLE_XET", "").upper() in _ON:
        yield Finding(
            Severity.INFO, "hub-xet-off", "HF_HUB_DISABLE_XET", "Xet is off: transfers use LFS."
        )


def _caches(env: Mapping[str, str]) -> Iterator[Finding]:
    for name, path in cache_folders(env).items():
        room = probe(path)
        xet = name == "HF_XET_CACHE"
        consequence = (
            ' The client reports this as "MerkleDB Shard error: File I/O error" or "No space left '
            'on device".'
            if xet
            else ""
        )
        if room.error:
            fix = f"Free space or correct the rights of {path}, or set {name} to another disk."
            if xet:
                fix += " Until then `--transport auto` uses LFS by itself."
            yield Finding(
                Severity.WARNING if xet else Severity.ERROR,
                "hub-cache-not-writable",
                str(path),
                f"{name}: nothing can be written here ({room.error}).{consequence}",
                fix,
            )
        elif room.free_bytes < (XET_ROOM if xet else LOW_BYTES):
            yield Finding(
                Severity.WARNING,
                "hub-cache-nearly-full",
                str(path),
                f"{name}: only {room.free_bytes / 1e9:.1f} GB are free.{consequence}",
                f"Free some (`hf cache prune`), or set {name} to another disk.",
            )
        else:
            yield Finding(
                Severity.INFO,
                "hub-cache",
                str(path),
                f"{name}: writable, {room.free_bytes / 1e9:.0f} GB free.",
            )


def _versions() -> Iterator[Finding]:
    for package in ("huggingface_hub", "hf_xet", "datasets"):
        try:
            yield Finding(Severity.INFO, "hub-version", package, f"{package} {version(package)}")
        except PackageNotFoundError:
            missing_xet = package == "hf_xet"
            yield Finding(
                Severity.INFO if missing_xet else Severity.WARNING,
                "hub-package-missing",
                package,
                f"{package} is not installed" + (": transfers use LFS." if missing_xet else "."),
                f"pip install {package}",
            )


def _endpoint(account: Account) -> Iterator[Finding]:
    """Reachability and clock, from one question that needs no token."""
    import urllib.error
    import urllib.request

    where = account.endpoint
    sent = time.time()
    try:
        request = urllib.request.Request(f"{where}/api/whoami-v2", method="GET")
        with urllib.request.urlopen(request, timeout=10) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        date = error.headers.get("Date")  # 401 without a token: it is there and answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        yield Finding(
            Severity.ERROR,
            "hub-unreachable",
            where,
            f"the endpoint does not answer: {reason}.",
            "Check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT; on a compute node, try "
            "the login node.",
        )
        return
    yield Finding(
        Severity.INFO, "hub-reachable", where, f"answers in {(time.time() - sent) * 1000:.0f} ms."
    )
    if date:
        skew = time.time() - email.utils.parsedate_to_datetime(date).timestamp()
        if abs(skew) > CLOCK_SECONDS:
            yield Finding(
                Severity.ERROR,
                "hub-clock",
                "clock",
                f"this machine's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}: "
                "signed storage addresses will be refused.",
                "Set the clock (`timedatectl set-ntp true`).",
            )


def _token(account: Account) -> Iterator[Finding]:
    if account.token is None:
        yield Finding(
            Severity.WARNING,
            "hub-no-token",
            "HF_TOKEN",
            "there is no token: nothing can be published, and private datasets cannot be read.",
            f"Make one at {account.endpoint}/settings/tokens; write HF_TOKEN=... into .env.",
        )
        return
    try:
        identity = whoami(account, Retry(attempts=1))
    except DeepSynthError as error:
        yield Finding(Severity.ERROR, "hub-token", "HF_TOKEN", error.what, error.hint or "")
        return
    role = token_role(identity) or "unknown role"
    reads = role == "read"
    yield Finding(
        Severity.WARNING if reads else Severity.INFO,
        "hub-token",
        "HF_TOKEN",
        f"it belongs to {identity['name']} ({role})" + (": it cannot publish." if reads else "."),
        f"For publishing, make one with write access at {account.endpoint}/settings/tokens."
        if reads
        else "",
    )


def _devices() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding(
            Severity.INFO,
            "torch",
            "torch",
            "not installed: this machine can generate, publish and submit, not train.",
            f"{install_extra('train')}, where training is to run.",
        )
        return
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        what = f"torch {torch.__version__} with {', '.join(sorted(names))}"
        yield Finding(Severity.INFO, "torch", "torch", what)
        return
    if shutil.which("nvidia-smi") is None:
        what = f"torch {torch.__version__}, no NVIDIA GPU: training uses the processor"
        yield Finding(Severity.INFO, "torch", "torch", what)
        return
    built = torch.version.cuda
    yield Finding(
        Severity.WARNING,
        "torch",
        "torch",
        f"torch {torch.__version__} does not see the GPU of this machine: "
        + (f"it is built for CUDA {built}." if built else "it is built for the processor only."),
        "Compare `nvidia-smi` (driver, CUDA version) with https://pytorch.org/get-started/locally "
        "and install the build that fits"
        + (
            "; CUDA_VISIBLE_DEVICES is empty."
            if os.environ.get("CUDA_VISIBLE_DEVICES") == ""
            else "."
        ),
    )
