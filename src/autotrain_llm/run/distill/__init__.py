"""Knowledge distillation: a teacher's probabilities beside the rows, as a part of the loss."""
