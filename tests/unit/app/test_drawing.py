"""Charts of the app: their ticks and their lines."""

from __future__ import annotations

import pytest

from autotrain_llm.app.drawing import HEIGHT, WIDTH, Curve, chart, ticks


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.001, 0.0011), (-3, 7), (5, 5), (0, 0), (1e-9, 2e9)])
def test_ticks_are_round_numbers_around_the_range(low, high):
    found = ticks(low, high, 4)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 12


def test_a_chart_stays_inside_and_its_labels_differ():
    drawn = chart(
        "Loss", "", [Curve("loss", [(1, 0.9999), (2, 1.0001)], 0), Curve("evaluation loss", [(2, 1.0)], 0, True)]
    )
    for line in drawn.lines:
        for point in line.points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    labels = [label for _, label in drawn.rows]
    assert len(set(labels)) == len(labels)
    assert [line.dashed for line in drawn.lines] == [False, True] and drawn.lines[0].colour == drawn.lines[1].colour


def test_values_that_span_orders_of_magnitude_are_drawn_on_a_log_axis():
    curves = [Curve("perplexity", [(1, 1e5), (2, 10), (3, 1.2)], 0)]
    assert next(label for _, label in chart("Perplexity", "", curves, log_axis=True).rows) == "1"
    assert next(label for _, label in chart("Perplexity", "", curves).rows) == "0"
