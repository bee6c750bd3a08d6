"""The words that everything is declared in."""
