"""One file per metric of enhanced evaluation: its name, its direction, and the kinds of rows that it applies to."""
