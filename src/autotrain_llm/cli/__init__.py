"""From argv to exit status: the only folder that prints or exits."""
