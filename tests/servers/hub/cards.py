"""What the Hub checks in the front matter of a README.md, in small."""

import contextlib
import re

import yaml
from starlette.responses import JSONResponse

from .state import HUB

LICENSES = frozenset(
    re.findall(
        r"\S+",
        """
        apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0
        bsl-1.0 bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
        cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
        cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
        cdla-permissive-2.0 ecl-2.0 epl-2.0 etalab-2.0 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
        lgpl lgpl-3.0 isc mpl-2.0 odc-by odbl pddl unlicense wtfpl llama3.1 gemma unknown other
        """,
    )
)


def card_data(tree):
    e = tree.get("README.md")
    if not e or e.get("lfs"):
        return {}
    m = re.match(
        r"^\s*---\r?\n(.*?)\r?\n---",
        (HUB.config.root / "git" / e["oid"]).read_text("utf-8", "replace"),
        re.S,
    )
    with contextlib.suppress(yaml.YAMLError):
        return (yaml.safe_load(m[1]) or {}) if m else {}
    return {}


def values(data, key):
    """A field that may be one value or a list, as a list."""
    found = data.get(key)
    return found if isinstance(found, list) else [] if found is None else [found]


def check_card(content: str, rtype: str):
    """The errors and warnings the Hub gives for a README's front matter, in small."""
    found = re.match(r"^\s*---\r?\n(.*?)\r?\n---", content, re.S)
    if not found:
        return [], [{"message": "empty or missing yaml metadata in repo card"}]
    try:
        data = yaml.safe_load(found[1]) or {}
    except yaml.YAMLError as error:
        return [{"message": f"invalid YAML: {str(error).splitlines()[0]}"}], []
    repo_id = r"[\w.-]+(/[\w.-]+)?"
    some = ", ".join(sorted(LICENSES)[:6])
    errors = [
        f'"{key}" must be an array'
        for key in ("task_categories", "size_categories")
        if key in data and not isinstance(data[key], list)
    ]
    errors += [
        f'"license" must be one of [{some}, ...], got {name!r}'
        for name in values(data, "license")
        if name not in LICENSES
    ]
    errors += [  # an unquoted 'no' arrives here as False
        f'"language" with value {code!r} is not an ISO 639 code'
        for code in values(data, "language")
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?|code|multilingual", str(code))
    ]
    errors += [
        f'"base_model" with value {name!r} is not valid. Use a model id from the Hub.'
        for name in values(data, "base_model")
        if not re.fullmatch(repo_id, str(name))
    ]
    if rtype == "model":
        errors += [
            f'"datasets[{i}]" with value {name!r} is not valid. Use a dataset id from the Hub.'
            for i, name in enumerate(values(data, "datasets"))
            if not re.fullmatch(repo_id, str(name))
        ]
        errors += [
            '"model-index[0]" must have name and results'
            for entry in values(data, "model-index")
            if not isinstance(entry, dict) or not {"name", "results"} <= set(entry)
        ]
    if rtype == "dataset" and any(
        not isinstance(c, dict) or "config_name" not in c for c in values(data, "configs")
    ):
        errors.append('"configs[].config_name" is required')
    return [{"message": message} for message in errors], []


async def validate_yaml(req):
    """400 with the errors of a card, 200 when there are none."""
    body = await req.json()
    errors, warnings = check_card(body["content"], body.get("repoType") or "model")
    return JSONResponse({"errors": errors, "warnings": warnings}, 400 if errors else 200)
