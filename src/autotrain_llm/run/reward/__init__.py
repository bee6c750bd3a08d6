"""A model that scores answers: loaded or made, called on batches of pairs, and what it learns from them."""
