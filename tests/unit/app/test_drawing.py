"""Charts of the app: the plots of reports, with a legend of their own."""

from __future__ import annotations

import re

from autotrain_llm.app.drawing import chart
from autotrain_llm.run.report.svg import HEIGHT, WIDTH, Curve


def test_a_chart_stays_inside_and_its_legend_has_the_last_values():
    curves = [Curve("loss", [(1, 0.9999), (2, 1.0001)], 1), Curve("eval <loss>", [(2, 1.0)], 1, ("line", "dashed"))]
    drawn = chart("Loss", "", curves)
    assert drawn.legend == [("c1", "loss", "1"), ("c1 dashed", "eval <loss>", "1")] and "<loss>" not in drawn.plot
    for points in re.findall(r'points="([^"]+)"', drawn.plot):
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT


def test_values_that_span_orders_of_magnitude_are_drawn_on_a_log_axis():
    curves = [Curve("perplexity", [(1, 1e5), (2, 10), (3, 1.2)], 1)]
    assert ">100<" in chart("Perplexity", "", curves, log_axis=True).plot
    assert ">100<" not in chart("Perplexity", "", curves).plot
