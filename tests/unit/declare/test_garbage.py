"""Which objects garbage collections go through."""

from __future__ import annotations

import gc

from autotrain_llm.declare import garbage
from autotrain_llm.declare.garbage import existing_objects_frozen


def test_objects_stay_frozen_until_the_outermost_block_ends(monkeypatch):
    gc.unfreeze()
    monkeypatch.setattr(garbage, "_frozen", False)
    existing = ["existing"]
    with existing_objects_frozen():
        made = ["made inside"]
        with existing_objects_frozen():
            pass
        tracked = {id(thing) for thing in gc.get_objects()}
        assert id(existing) not in tracked and id(made) in tracked
    assert {id(existing), id(made)} <= {id(thing) for thing in gc.get_objects()}
