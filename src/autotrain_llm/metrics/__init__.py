"""One file per metric of enhanced evaluation: what it is called, which way is better, where it makes sense."""
