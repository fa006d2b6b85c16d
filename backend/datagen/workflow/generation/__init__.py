"""Rendering of shards: progress, batch status, contact sheets, warnings of a run."""
