"""The stage: real servers on free ports, a sample to play with, and an annotator who works from the outside.

For the demo, the tests and the benches. Nothing here is part of the product, and nothing in the product imports it.
"""
