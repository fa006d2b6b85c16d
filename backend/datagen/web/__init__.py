"""The web process: checks, stores and answers. Nothing heavy happens here, and nothing is decided here."""
