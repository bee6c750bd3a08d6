"""The uses of a model that rules about its files tell apart."""

LANGUAGE_MODEL = "language model"  # trained, or compared with the trained one: a reference model, a teacher
SCORER = "scorer"
ENCODER = "encoder"
