"""One file per topic, one function per rule."""
