"""Enhanced evaluation: what a model writes on held-out rows compared with what stands there, before, during and after training."""
