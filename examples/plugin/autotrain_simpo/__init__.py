"""Simple preference optimisation for autotrain llm."""
