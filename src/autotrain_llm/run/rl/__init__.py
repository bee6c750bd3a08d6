"""Learning from scores of answers that the model wrote itself: sampled, scored, weighed and learnt from."""
