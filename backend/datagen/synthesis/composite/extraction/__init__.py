"""Extraction of examples from their photos: mattes (masks of concepts), outlines and the background behind them."""
