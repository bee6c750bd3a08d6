"""Read YAML and JSON strictly: a repeated key is an error, and `1e-5` is a number (YAML 1.1 reads it as text because it has no point)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WITHOUT_A_POINT = r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$|^[-+]?[0-9][0-9_]*\.[0-9_]*[eE][0-9]+$"


def load_json(text: str) -> Any:
    """Parse JSON. Raises ValueError if it is invalid or repeats a key in one object."""
    import json

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members:
                raise ValueError(f"{key} occurs twice in one object, as {members[key]!r} and as {value!r}")
            members[key] = value
        return members

    return json.loads(text, object_pairs_hook=build_object)


def load_yaml(text: str) -> Any:
    """Parse YAML. Raises ValueError if it is invalid or repeats a key in one mapping."""
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
        return yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.YAMLError as fault:
        raise ValueError(str(fault)) from None


def lines_of(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of every key and list item of a YAML or JSON text, by the keys and indices that lead to it; empty if it can't be parsed."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
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
