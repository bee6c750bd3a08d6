"""The flat batch layout: rows as segments of one stream, attention inside them, the head only where a token is predicted."""
