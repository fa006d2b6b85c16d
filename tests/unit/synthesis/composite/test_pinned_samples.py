"""The composite engine's bytes are pinned: a change of them must come with a new version of the engine.

``pinned_samples.json`` holds a digest for every sample of three small studies. After an intended change of pixels,
raise ``VERSION`` in ``datagen.synthesis.composite.engine`` and write the table anew: ``python FILE --write``, in the
environment that ``environment()`` describes.

OpenCV chooses its code by the CPU, and few pixels differ between AVX-512 and AVX2. The table is that of AVX2, which
x86-64 CPUs have had for ten years.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import pytest

from datagen.synthesis.engine import load_engine
from synthesis_studies import make_study

TABLE = Path(__file__).with_name("pinned_samples.json")
#: The kinds of picture that the studies are made of: 8-bit grey, 8-bit colour, 16-bit grey.
KINDS = ("grey", "colour", "deep")
SAMPLES = 20
#: Packages whose arithmetic decides about pixels; the table holds for one release of each.
PACKAGES = ("numpy", "opencv-python-headless", "scipy", "scikit-image")


def environment():
    """The environment of a process whose OpenCV uses no code for CPUs newer than AVX2."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENCV_CPU_DISABLE": "AVX512-SKX"}


def sample_digest(sample):
    """The first 16 digits of the SHA-256 of a sample's image, mask and instances."""
    content = hashlib.sha256()
    for array in (sample.image, sample.mask):
        content.update(f"{array.dtype.str}{array.shape}".encode())
        content.update(array.tobytes())
    for instance in sample.instances:
        box = instance.box
        outlines = [[[float(x), float(y)] for x, y in outline.points] for outline in instance.outlines]
        sides = [float(side) for side in (box.x, box.y, box.width, box.height)]
        content.update(json.dumps([instance.label, sides, outlines]).encode())
    return content.hexdigest()[:16]


def study_digests(kind):
    """The digests of a study's spec and samples."""
    spec, shelf = make_study(
        kind=kind, labels=("pit", "hole"), parameters={"counts_as_photographed": False, "instances_max": 3}
    )
    fitted = load_engine("composite").fit(spec, shelf, lambda done, step: None)
    return {"spec": spec.digest, "samples": [sample_digest(sample) for sample in fitted.render(range(SAMPLES))]}


def whole_table():
    return {
        "engine": load_engine("composite").version,
        "packages": {name: version(name) for name in PACKAGES},
        "studies": {kind: study_digests(kind) for kind in KINDS},
    }


@pytest.fixture(scope="module")
def rendered():
    """The table that this code gives; skipped where other packages or an older CPU compute it."""
    pinned = json.loads(TABLE.read_text())["packages"]
    if other := [name for name, release in pinned.items() if version(name) != release]:
        pytest.skip(f"the digests were made with other releases of {', '.join(other)}")
    if "*AVX2" not in cv2.getCPUFeaturesLine().split():
        pytest.skip("the digests were made on a CPU with AVX2; this one computes otherwise")
    program = [sys.executable, str(Path(__file__))]
    return json.loads(subprocess.run(program, env=environment(), capture_output=True, check=True, timeout=120).stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_this_version_have_the_pinned_bytes(rendered, kind):
    pinned = json.loads(TABLE.read_text())
    assert rendered["engine"] == pinned["engine"], "write the table of this version: see the module's docstring"
    assert rendered["studies"][kind] == pinned["studies"][kind]


if __name__ == "__main__":
    text = json.dumps(whole_table(), indent=1) + "\n"
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text(text)
    else:
        print(text)
