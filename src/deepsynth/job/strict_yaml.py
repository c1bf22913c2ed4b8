"""YAML read strictly, with the line of every key, so that an error can point at its place.

PyYAML follows YAML 1.1, where `no` is false and `5e-5` is text. A job says
`mixed_precision: no` and `learning_rate: 5e-5`, so scalars are resolved by the YAML 1.2 core
schema instead. A key written twice is an error, not a silent overwrite.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from deepsynth.errors import JobError

KeyPath = tuple[str | int, ...]


class _CoreSchemaLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 booleans, integers, floats and no timestamps."""


_CoreSchemaLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        list("-+.0123456789"),
    ),
):
    _CoreSchemaLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first
    )


def _whole_number(loader: _CoreSchemaLoader, node: yaml.ScalarNode) -> int:
    # PyYAML would read 010 as eight.
    return int(loader.construct_scalar(node))


_CoreSchemaLoader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Parse a YAML mapping and the line every key stands on.

    Args:
        text: The document.
        where: Name of the document, for messages.

    Returns:
        The mapping, and `{("train", "epochs"): 7, ...}` with lines counted from 1.

    Raises:
        JobError: Not YAML, not a mapping, a key that is not text, or a key written twice.
    """
    lines: dict[KeyPath, int] = {}
    try:
        loader = _CoreSchemaLoader(text)
    except yaml.YAMLError as error:
        raise JobError(f"this is not YAML: {str(error).splitlines()[0]}.", where=where) from error
    try:
        node = loader.get_single_node()
        if node is None:
            raise JobError("the file is empty.", where=where, hint="Write one: deepsynth init")
        if not isinstance(node, yaml.MappingNode):
            raise JobError("this is no list of `key: value` lines.", where=f"{where}:{_line(node)}")
        _walk(node, (), lines, where)
        return loader.construct_document(node), lines
    except RecursionError:
        raise JobError("this refers to itself or is nested too deeply.", where=where) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        raise JobError(
            f"this is not YAML: {error.problem or error.context}.",
            where=place,
            hint="Check the indentation (spaces, not tabs), colons and quotes of this line.",
        ) from error
    except yaml.YAMLError as error:
        raise JobError(f"this is not YAML: {str(error).splitlines()[0]}.", where=where) from error
    finally:
        loader.dispose()


def read_scalar(text: str) -> Any:
    """One value as it would be read in a job file: `3`, `5e-5`, `true`, `[a, b]`."""
    return yaml.load(text, _CoreSchemaLoader)  # noqa: S506 (a SafeLoader subclass)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], where: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            place = f"{where}:{_line(key_node)}"
            if key_node.tag != "tag:yaml.org,2002:str":
                raise JobError(f"the key {key_node.value!r} must be text.", where=place)
            key = (*path, key_node.value)
            if key in lines:
                raise JobError(
                    f"{'.'.join(map(str, key))} is set twice (first on line {lines[key]}).",
                    where=place,
                    hint="Keep one of the two lines.",
                )
            lines[key] = _line(key_node)
            _walk(value_node, key, lines, where)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = _line(item)
            _walk(item, (*path, index), lines, where)
