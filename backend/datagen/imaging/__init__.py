"""Bytes to pixels and back: decoder with limits, its sandbox, encoders, file signatures."""
