"""All code that depends on Label Studio's API and JSON formats."""
