"""``datagen doctor``: every part looked at, each finding a sentence that names the misconfiguration and its fix."""
