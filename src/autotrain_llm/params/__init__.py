"""What a user can say: one file per topic, one class per group."""
