"""YAML read strictly, with the line of every key, so that an error can point at its place.

PyYAML follows YAML 1.1, where `no` is false and `5e-5` is text. A job says
`mixed_precision: no` and `learning_rate: 5e-5`, so scalars are resolved by the YAML 1.2 core
schema instead. A key written twice is an error, not a silent overwrite.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from deepsynth.errors import JobError

KeyPath = tuple[str | int, ...]
_MOST_DIGITS = 40
_FAULTS = (
    yaml.YAMLError,
    ValueError,
    OverflowError,
    RecursionError,
    AttributeError,
    TypeError,
    LookupError,
)
"""What PyYAML raises for text that is not YAML, explicit tags and impossible escapes included."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader for what people write: no aliases, with which a few lines can mean gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(
                None, None, "aliases (*NAME) are not read; write the value again", event.start_mark
            )
        return super().compose_node(parent, index)


class _CoreSchemaLoader(_PlainLoader):
    """The same with YAML 1.2 booleans, integers, floats and no timestamps."""


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
    text = str(loader.construct_scalar(node))
    if len(text) > _MOST_DIGITS:
        raise ConstructorError(
            None, None, f"a number of {len(text)} digits is too long", node.start_mark
        )
    return int(text)


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
    with _told(where):
        loader = _CoreSchemaLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise JobError("the file is empty.", where=where, hint="Write one: deepsynth init")
            if not isinstance(node, yaml.MappingNode):
                place = f"{where}:{_line(node)}"
                raise JobError("this is no list of `key: value` lines.", where=place)
            _walk(node, (), lines, where)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()


def read_yaml_file(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Like `read_yaml`, of a file.

    Raises:
        JobError: It cannot be read, or not as YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"this is not UTF-8: byte {error.start}.", where=path) from None
    except OSError as error:
        raise JobError(f"this cannot be read: {error.strerror}.", where=path) from None
    return read_yaml(text, str(path))


def read_scalar(text: str) -> Any:
    """One value as it would be read in a job file: `3`, `5e-5`, `true`, `[a, b]`.

    Raises:
        JobError: It is none.
    """
    with _told(text):
        return yaml.load(text, _CoreSchemaLoader)  # noqa: S506 (a SafeLoader subclass)


def read_ours(text: str, where: str) -> dict[str, Any]:
    """A mapping that `yaml.safe_dump` wrote, read back the way it wrote it.

    Raises:
        JobError: It is none, or was changed into what we never write.
    """
    with _told(where):
        tree = yaml.load(text, _PlainLoader)  # noqa: S506 (a SafeLoader subclass)
    if not isinstance(tree, dict):
        raise JobError("this is no list of `key: value` lines.", where=where)
    return cast("dict[str, Any]", tree)


def write_ours(tree: dict[str, Any]) -> str:
    """A mapping as `read_ours` reads it: what is twice in it stands there twice."""
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@contextmanager
def _told(where: str) -> Generator[None]:
    """Tell what is wrong with a text, whatever PyYAML makes of it."""
    try:
        yield
    except RecursionError:
        raise JobError("this refers to itself or is nested too deeply.", where=where) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise JobError(
            f"this is not YAML: {error.problem or error.context}.",
            where=f"{where}:{mark.line + 1}" if mark else where,
            hint="Check the indentation (spaces, not tabs), colons and quotes of this line.",
        ) from None
    except _FAULTS as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise JobError(f"this is not YAML: {said}.", where=where) from None


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
