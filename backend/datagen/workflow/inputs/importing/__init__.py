"""Import of inputs: one pipeline from a source to tasks of the study's project."""
