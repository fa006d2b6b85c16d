"""Engines that render samples, and what they share. Names no setting, command or environment variable."""
