"""Read YAML and JSON strictly: a repeated key is an error, and `1e-5` is a number (YAML 1.1 reads it as text because it has no point)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

DEEPEST, MOST_VALUES = 100, 100_000  # a config has a few levels, and some dozens of values
TOO_DEEP = "it is nested too deeply"

WITHOUT_A_POINT = r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$|^[-+]?[0-9][0-9_]*\.[0-9_]*[eE][0-9]+$"


def load_json(text: str) -> Any:
    """Parse JSON. Raises ValueError if it is invalid or repeats a key in one object."""
    import json

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members:
                raise ValueError(f"{key} occurs twice in one object")
            members[key] = value
        return members

    try:
        return json.loads(text, object_pairs_hook=build_object)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON of any source. Raises ValueError if it is invalid or nested too deeply."""
    import json

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def mapping(document: Any) -> dict[str, Any]:
    """A document that should be an object; empty if a damaged file holds something else."""
    return document if isinstance(document, dict) else {}


def load_yaml(text: str) -> Any:
    """Parse YAML. Raises ValueError if it is invalid, repeats a key in one mapping, or is nested or repeated by aliases without bound. The
    message has no text of the document, which may hold a secret."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """A class of its own, because resolvers are added to the class and would change all YAML of the process."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            written: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if key.value in written:
                    raise yaml.YAMLError(f"{key.value} is in line {written[key.value]} and again in line {line}")
                written[key.value] = line
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(WITHOUT_A_POINT), list("-+0123456789"))
    try:
        _check_size(yaml.parse(text, Loader=yaml.SafeLoader))
        return yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as fault:
        raise ValueError(_where(fault)) from None
    except yaml.YAMLError as fault:
        raise ValueError(str(fault)) from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def _where(fault: Any) -> str:
    """A parser's message with its place, but without the text that it quotes; marks of YAML's grammar are kept."""
    import re

    mark = fault.problem_mark or fault.context_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    words = ", ".join(part for part in (fault.context, fault.problem) if part)
    return re.sub(r"'[^'<]{3,}'|\"[^\"<]{3,}\"", "a text that is not shown", words) + place


def _check_size(events: Iterable[Any]) -> None:
    """Raise ValueError if a document is nested too deeply, or has too many values when its aliases are replaced by what they name."""
    import yaml

    sizes: dict[str, int] = {}  # by anchor
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor, and the values so far
    for event in events:
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > DEEPEST:
                raise ValueError(TOO_DEEP)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
            if anchor:
                sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor:
                sizes[event.anchor] = size
        anchor, values = open_nodes[-1]
        open_nodes[-1] = (anchor, values + size)
        if values + size > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values when its aliases are replaced by what they name")


def lines_of(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of every key and list item of a YAML or JSON text, by the keys and indices that lead to it; empty if it can't be parsed."""
    import yaml

    try:
        _check_size(yaml.parse(text, Loader=yaml.SafeLoader))
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError):
        return {}
    lines: dict[tuple[str | int, ...], int] = {}

    def visit(node: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                at = (*path, str(key.value))
                lines[at] = key.start_mark.line + 1
                visit(value, at)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                lines[*path, index] = item.start_mark.line + 1
                visit(item, (*path, index))

    visit(root, ())
    return lines
