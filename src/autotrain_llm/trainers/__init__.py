"""One file per trainer: its specification and its own group of parameters."""
