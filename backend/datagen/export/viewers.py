"""Programs that people look at datasets with: three lines of Python each, which open an export in a folder.

The lines run in a Python interpreter of their own, which may be that of another environment: the programs need other
releases of packages than Datagen does, so none of them is an extra of this package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from datagen.errors import InputProblem
from datagen.export.viewer_names import ViewerName

#: Seconds for which an interpreter may take to say whether it has a package.
_LOOK_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One program."""

    name: ViewerName
    #: the module that the lines import, and the package that has it
    module: str
    package: str
    #: modules that the package imports for this format without requiring them, each with its package
    also: tuple[tuple[str, str], ...] = ()
    #: the export format that it opens
    format: str
    #: its import, the loading of the folder ``sys.argv[1]``, and the opening of the program until it is closed
    lines: tuple[str, str, str]

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages to install."""
        return (self.package, *(package for _, package in self.also))


VIEWERS: dict[ViewerName, Viewer] = {
    viewer.name: viewer
    for viewer in (
        Viewer(
            name=ViewerName.FIFTYONE,
            module="fiftyone",
            package="fiftyone",
            also=(("pycocotools", "pycocotools"),),
            format="coco",
            lines=(
                "import sys, fiftyone as fo",
                "dataset = fo.Dataset.from_dir(dataset_type=fo.types.COCODetectionDataset, data_path=sys.argv[1], "
                "labels_path=sys.argv[1] + '/coco.json')",
                "fo.launch_app(dataset).wait()",
            ),
        ),
        Viewer(
            name=ViewerName.LIGHTLY,
            module="lightly_studio",
            package="lightly-studio",
            format="coco",
            lines=(
                "import sys, lightly_studio as ls",
                # boxes: of masks it keeps run-length masks of crowds alone
                "dataset = ls.ImageDataset.create(); dataset.add_samples_from_coco(sys.argv[1] + '/coco.json', "
                "sys.argv[1], embed=False, embed_annotations=False)",
                "ls.start_gui()",
            ),
        ),
        Viewer(
            name=ViewerName.ATLAS,
            module="embedding_atlas",
            package="embedding-atlas",
            also=(("PIL", "pillow"),),
            format="parquet",
            lines=(
                "import sys, glob; from embedding_atlas.cli import main",
                "dataset = sorted(glob.glob(sys.argv[1] + '/parquet/*.parquet'))",
                "main([*dataset, '--image', 'image'])",
            ),
        ),
    )
}


def check_installed(viewer: Viewer, python: Path | None = None) -> None:
    """Check that an interpreter, by default this one, has a program.

    Raises:
        InputProblem: it has not, or there is no such interpreter; the sentence says how to install it.
    """
    interpreter = str(python or sys.executable)
    modules = (viewer.module, *(module for module, _ in viewer.also))
    look = f"import sys; from importlib.util import find_spec; sys.exit(0 if all(map(find_spec, {modules!r})) else 3)"
    try:
        completed = subprocess.run([interpreter, "-c", look], timeout=_LOOK_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as refusal:
        raise InputProblem(f"{interpreter} cannot be run: {refusal}; name a Python interpreter") from refusal
    if completed.returncode:
        raise InputProblem(
            f"{' or '.join(viewer.packages)} is not installed for {interpreter}. It needs other releases of packages "
            f"than Datagen, so give it an environment of its own: python3 -m venv {viewer.name} && "
            f"{viewer.name}/bin/pip install {' '.join(viewer.packages)}, "
            f"then name it: --python {viewer.name}/bin/python"
        )


def open_export(viewer: Viewer, folder: Path, python: Path | None = None) -> None:
    """Open an export in a folder, and wait until the program is closed.

    What the program writes to its working directory, LightlyStudio its database, is removed afterwards.

    Raises:
        InputProblem: the program failed; its messages are on standard error.
    """
    interpreter = str(python or sys.executable)
    # the working directory is another one; links are not followed, because a virtual environment is found by the path
    program = Path(shutil.which(interpreter) or interpreter).absolute()
    command = [str(program), "-c", "\n".join(viewer.lines), str(folder.resolve())]
    with tempfile.TemporaryDirectory(prefix="datagen-view-") as scratch:
        ended = subprocess.run(command, cwd=scratch, check=False)  # noqa: S603
    if ended.returncode:
        raise InputProblem(
            f"{viewer.package} ended with {ended.returncode}; what it said is above. To write the export alone: "
            f"datagen export STUDY --format {viewer.format} --out FOLDER"
        )
