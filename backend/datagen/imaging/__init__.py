"""Decoding and encoding of pictures: decoder with limits, its sandbox, encoders, file signatures."""
