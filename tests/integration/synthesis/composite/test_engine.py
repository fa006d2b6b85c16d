"""The composite engine in another process."""

from __future__ import annotations

import os
import subprocess
import sys

#: Prints the digests of two samples.
PROGRAM = """
import hashlib
from datagen.synthesis.engine import load_engine
from synthesis_studies import make_study

spec, shelf = make_study()
fitted = load_engine("composite").fit(spec, shelf, lambda fraction, what: None)
print([hashlib.sha256(sample.image.tobytes()).hexdigest() for sample in fitted.render([2, 5])])
"""


def test_another_process_gives_the_same_bytes() -> None:
    """Hash randomization and thread counts differ there."""
    path = os.pathsep.join(sys.path)
    printed = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": number, "OPENBLAS_NUM_THREADS": number},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for number in ("1", "3")
    }
    assert len(printed) == 1


def test_importing_the_engine_brings_no_heavy_package():
    program = (
        "import sys, datagen.synthesis.composite.engine\n"
        "heavy = {'torch', 'matplotlib', 'skimage', 'scipy', 'pandas', 'diffusers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    message = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert message.stdout.strip() == "[]"
