"""The export formats of this package, one module a format; see ``export/writer.py`` for what they have in common."""
