"""Decoding and encoding of pictures: the decoder with its limits, its sandbox, encoders, and file signatures."""
