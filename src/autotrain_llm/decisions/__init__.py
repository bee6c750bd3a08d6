"""What a plan decides beyond what every run has: one file per part."""
