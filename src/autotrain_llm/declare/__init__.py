"""The classes with which parameters, trainers, metrics and rules are declared."""
