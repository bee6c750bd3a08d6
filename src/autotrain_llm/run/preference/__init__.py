"""Learning from answers that are better or worse: pairs and judged answers, their losses, and what they are compared with."""
