"""A run in several processes: the one that starts them with torchrun's agent, and what they do."""
