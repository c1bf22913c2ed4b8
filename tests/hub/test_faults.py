"""Every fault of `fault_cases`, on publish and on load, over both transports."""

import re
from dataclasses import dataclass

import pytest

from deepsynth import durable
from deepsynth.errors import DeepSynthError
from deepsynth.hub.load import load
from deepsynth.hub.publish import publish
from deepsynth.hub.remote import Remote
from tests.hub import fault_table
from tests.hub.conftest import QUICK
from tests.hub.fault_cases import LOAD, PUBLISH, SUCCEEDS
from tests.support.folders import make_dataset, seed_of

SHARDS = {"train": (3, 12), "validation": (1, 12)}
SHARD_BYTES = 4_000


@dataclass
class Seen:
    """What a command did: its message (empty: it succeeded) and its result."""

    message: str
    result: object = None


def attempt(function, *arguments, **options):
    """Call `publish` or `load`; nothing but an error of ours may come out."""
    try:
        return Seen("", function(*arguments, **{"retry": QUICK, **options}))
    except DeepSynthError as error:
        return Seen(str(error))


def cases(table):
    return [
        pytest.param(
            case,
            transport,
            id=f"{case.name}-{transport}",
            marks=[pytest.mark.thorough] if transport in case.thorough else [],
        )
        for case in table
        for transport in case.transports
    ]


def check(case, seen):
    assert "hf_alice" not in seen.message
    if case.says == SUCCEEDS:
        assert seen.message == ""
    else:
        assert re.search(case.says, seen.message, re.DOTALL), seen.message
        assert "\n  " in seen.message  # what to do next


@pytest.mark.parametrize(("case", "transport"), cases(PUBLISH))
def test_publishing_through_a_fault(hub, alice, repo, tmp_path, case, transport):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo), size=SHARD_BYTES, splits=SHARDS)
    shards = sum(f.stat().st_size for f in (folder / "data").iterdir())
    options = {"repo": repo, "account": alice, "transport": transport}
    hub.fault(case.pattern(transport), **case.fault)
    seen = attempt(publish, folder, **options, **case.options)
    check(case, seen)
    assert any(r["fault"] for r in hub.log()), "the fault never happened"
    commits = hub.requests("/commit/main")
    landed = [r for r in commits if not r["fault"] or r["fault"].get("lost_response")]
    assert len([r for r in landed if r["status"] == 200 or r["fault"]]) == (case.says == SUCCEEDS)
    sent_before = hub.sent()
    hub.clear()
    done = publish(folder, **options, retry=QUICK)  # the same command again completes it
    assert done.new_commit == (case.says != SUCCEEDS)
    again = hub.sent()
    held = Remote(alice, done.repo).state().files
    for file in sorted((folder / "data").iterdir()):
        assert held[f"data/{file.name}"].sha256 == durable.sha256_file(file)
    assert again <= 1.1 * shards
    if case.says == SUCCEEDS:
        assert seen.result.new_commit  # also when its answer was lost: it is known as ours
        assert seen.result.sha == done.sha
    if commits and case.says != SUCCEEDS:
        assert again == 0  # all was in place before the commit failed: nothing is sent twice
    fault_table.record("publish", case, transport, seen, sent_before / shards, again / shards)


@pytest.mark.parametrize(("case", "transport"), cases(LOAD))
def test_loading_through_a_fault(hub, alice, repo, tmp_path, case, transport):
    folder = make_dataset(tmp_path / "d", seed=seed_of(repo), size=SHARD_BYTES, splits=SHARDS)
    done = publish(folder, repo=repo, account=alice, retry=QUICK, transport=transport)
    shards = sum(f.stat().st_size for f in (folder / "data").iterdir())
    hub.clear()
    hub.fault(case.pattern(transport), **case.fault)
    seen = attempt(load, done.repo, account=alice, transport=transport, **case.options)
    check(case, seen)
    assert any(r["fault"] for r in hub.log()), "the fault never happened"
    came = sum(r["out"] for r in hub.requests("/_s3/"))
    hub.clear()
    copy = load(done.repo, account=alice, retry=QUICK, transport=transport)
    assert copy.sha == done.sha
    again = sum(r["out"] for r in hub.requests("/_s3/"))
    for file in sorted((folder / "data").iterdir()):
        assert (copy.folder / "data" / file.name).read_bytes() == file.read_bytes()
    fault_table.record("load", case, transport, seen, came / shards, again / shards)
