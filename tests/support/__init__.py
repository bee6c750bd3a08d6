"""What several tests share: rows, models and readers of outputs."""
