"""Conversion between Label Studio's JSON and domain values: regions, masks, predictions and form answers."""
