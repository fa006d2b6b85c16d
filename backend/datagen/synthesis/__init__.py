"""Engines that render samples, and the code that engines share.

Nothing in this package names a setting, a command or an environment variable."""
