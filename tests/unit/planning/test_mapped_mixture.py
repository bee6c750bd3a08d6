"""A process that another one has started takes the rows of a mixture from the cache, without their files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.planning.run_inputs import PreparedElsewhere, context_of, inputs_of, prepared_here
from support.rows import write_rows


def test_a_mixture_is_mapped_without_its_files(tmp_path: Path, light_llama: Path) -> None:
    files = [
        write_rows(tmp_path / f"{name}.jsonl", [{"prompt": f"{name} {n}?", "completion": f"{n}"} for n in range(count)])
        for name, count in (("first", 9), ("second", 14))
    ]
    config = tmp_path / "mixture.yaml"
    config.write_text(
        "sources:\n  - path: first.jsonl\n    weight: 3\n  - path: second.jsonl\n    weight: 1\n", encoding="utf-8"
    )
    flags = {"model": str(light_llama), "data_config": str(config), "output_dir": str(tmp_path / "run")}
    flags |= {"trainer": "sft", "lr": 1e-3, "epochs": 1, "batch_size": 2}
    found = preflight(resolve(parse_kwargs(flags).values))
    assert found.plan is not None, found.findings
    expected = found.context.prepared
    document = json.loads(json.dumps(dataclasses.asdict(prepared_here(found.context))))
    for path in files:
        path.unlink()
    context = context_of(found.plan, elsewhere=PreparedElsewhere.from_json(document))
    mapped = inputs_of(found.plan, context).prepared
    assert expected is not None and mapped.fingerprint == expected.fingerprint and mapped.mixture == expected.mixture
    assert len(mapped.train) == len(expected.train) == 23
    for index in range(23):
        assert mapped.train[index][0].tolist() == expected.train[index][0].tolist()
    assert mapped.statistics == expected.statistics
