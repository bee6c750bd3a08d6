"""Enhanced evaluation: generate answers to held-out rows and score them against the references, before, during and after training."""
