"""Calibration of a scorer."""

from __future__ import annotations

from autotrain_llm.declare.metric import MINIMIZE, Metric

METRIC = Metric(
    name="calibration",
    title="expected calibration error of the sigmoid of the margin, in ten bins: 0 where confidence is right as often as it says",
    reports={"calibration": MINIMIZE},
    rows=("scored",),
    usual=("scored",),
    measured_as=("calibration",),
    also=("ece", "calibration_error", "expected_calibration_error"),
)
