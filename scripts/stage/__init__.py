"""The stage: real servers on free ports, a sample study, and a simulated annotator who uses Label Studio from outside.

The demo, the tests and the benches use it. It is not part of the product, and no module of the product imports it."""
