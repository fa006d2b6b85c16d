"""The studio: pages on which people see their studies. They are read-only, and shown to accounts of Label Studio."""
