"""The pages of the documentation that need more than flags: files and commands that draw a finding, and what doesn't."""
