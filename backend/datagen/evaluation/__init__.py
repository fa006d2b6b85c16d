"""Metrics that compare synthesized images and predictions with real ones."""
