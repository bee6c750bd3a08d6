"""Calibration of a reward model."""

from __future__ import annotations

from autotrain_llm.declare.metric import MINIMIZE, Metric

METRIC = Metric(
    name="calibration",
    title="expected calibration error of sigmoid(margin) in ten bins; 0 is perfectly calibrated",
    reports={"calibration": MINIMIZE},
    rows=("scored",),
    usual=("scored",),
    measured_as=("calibration",),
    also=("ece", "calibration_error", "expected_calibration_error"),
)
