"""Read YAML and JSON as people mean them: `1e-5` is a number, which YAML 1.1 takes for a text because it has no point, and a key stands once."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WITHOUT_A_POINT = r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$|^[-+]?[0-9][0-9_]*\.[0-9_]*[eE][0-9]+$"


def load_json(text: str) -> Any:
    """What a JSON text holds. Raises ValueError where it is none; a key that stands twice in one object is none, as in YAML."""
    import json

    def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members:
                raise ValueError(f"{key} stands twice in one object, as {members[key]!r} and as {value!r}")
            members[key] = value
        return members

    return json.loads(text, object_pairs_hook=build_object)


def load_yaml(text: str) -> Any:
    """What a YAML text holds. Raises ValueError where it is none."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """Its own class, so that nobody else's YAML is read differently. A key that stands twice is no YAML."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            written: dict[Any, int] = {}
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                    continue
                line = key.start_mark.line + 1
                if key.value in written:
                    raise yaml.YAMLError(f"{key.value} stands in line {written[key.value]} and again in line {line}")
                written[key.value] = line
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(WITHOUT_A_POINT), list("-+0123456789"))
    try:
        return yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.YAMLError as fault:
        raise ValueError(str(fault)) from None
