"""``datagen doctor``: checks of every component; each finding names the misconfiguration and its fix."""
