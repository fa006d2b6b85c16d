"""Extraction of examples from their photos: mattes, outlines and the background behind them."""
