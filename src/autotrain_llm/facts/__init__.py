"""What rules may ask of the world: the machine, the output folder, the model's files, the rows."""
