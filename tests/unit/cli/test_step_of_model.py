"""The end of a run says which step the finished model is from."""

from types import SimpleNamespace

import pytest

from autotrain_llm.cli.render import _step_of_model
from autotrain_llm.run.session.execute import final_metrics


def report(model_step, last_step, planned=20):
    arguments = SimpleNamespace(metric_for_best_model="eval_loss")
    return SimpleNamespace(
        model_step=model_step, last_step=last_step, plan=SimpleNamespace(steps=planned, arguments=arguments)
    )


@pytest.mark.parametrize(
    ("model_step", "last_step", "rows"),
    [
        (20, 20, []),
        (None, None, []),
        (12, 20, [("Step", "12 of 20, the best by eval_loss")]),
        (3, 5, [("Step", "3 of 20, the best by eval_loss; training stopped early, after step 5")]),
    ],
)
def test_the_step_of_the_model_is_named_if_it_is_not_the_last(model_step, last_step, rows):
    assert _step_of_model(report(model_step, last_step)) == rows


def test_metrics_are_those_of_the_finished_model():
    history = [
        {"step": 1, "loss": 5.0},
        {"step": 1, "eval_loss": 5.1},
        {"step": 2, "loss": 4.0},
        {"step": 2, "eval_loss": 5.5},
    ]
    last = final_metrics(history, None)
    assert (last["loss"], last["eval_loss"]) == (4.0, 5.5)
    best = final_metrics(history, 1)
    assert (best["loss"], best["eval_loss"]) == (5.0, 5.1)
