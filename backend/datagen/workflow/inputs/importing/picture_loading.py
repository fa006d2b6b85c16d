"""Loading the picture of an item from a file, or from Label Studio if the source names an address there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datagen.errors import BadPicture, InputProblem, LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.imaging.codec import check_bytes
from datagen.imaging.file_signatures import kind_of
from datagen.label_studio.api.http import origin
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.task_inputs import name_of
from datagen.workflow.inputs.importing.addresses import is_label_studio_path, is_on_a_server
from datagen.workflow.inputs.importing.items import Item, clean_name
from datagen.workflow.inputs.importing.picture_files import PictureFiles
from datagen.workflow.inputs.importing.picture_suffixes import PICTURE_SUFFIXES
from datagen.workflow.services import Services

#: Kind of a picture → the suffix of its uploaded file.
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WebP": ".webp", "GIF": ".gif"}
_REMEDY = "lay it beside the file, or name its folder with --images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A picture that was found, read and checked."""

    digest: str
    width: int
    height: int
    name: str
    #: its address on Label Studio; empty if it has to be uploaded
    address: str = ""
    data: bytes = b""


def load(
    services: Services, item: Item, files: PictureFiles, *, on_label_studio: bool, only_files: bool = False
) -> Loaded:
    """Find, read and check the picture of an item.

    Args:
        services: the decoder and the limits that check the picture.
        item: the item that names the picture.
        files: the folders to search.
        on_label_studio: whether the item's address is one of Label Studio's own. If it is, no folder is searched.
        only_files: whether a picture is taken from a file alone.

    Raises:
        InputProblem: the picture is missing or cannot be used; the message names the remedy.
        LabelStudioUnavailable: Label Studio did not answer.
    """
    path = item.file
    if path is None and not on_label_studio:
        path = files.find(item.address)
    if path is None and only_files:
        raise InputProblem(
            "its picture is not among the files, and none is taken from Label Studio, which does not show you every "
            "project of Datagen; send the file, too"
        )
    if path is None:
        return _from_label_studio(services, item, on_label_studio=on_label_studio)
    try:
        check_bytes(path.stat().st_size, services.limits.image_bytes)  # before the file is read into memory
        data = path.read_bytes()
    except OSError as fault:
        raise InputProblem(f"its file cannot be read ({fault.strerror})") from None
    width, height = services.decoder.size_of(data)
    name = item.name or clean_name(path.name)
    return Loaded(
        digest=hashlib.sha256(data).hexdigest(), width=width, height=height, name=_with_suffix(name, data), data=data
    )


def upload_name(name: str) -> str:
    """Return the name for an upload: the last part of a path, without characters that are special in paths or URLs."""
    last = name.replace("\\", "/").rpartition("/")[2]
    sanitized = "".join(letter if letter.isprintable() and letter not in '<>:"|?*#%' else "_" for letter in last)
    path = PurePosixPath(sanitized or "picture.png")
    return path.stem[:100] + path.suffix[:10]


def _from_label_studio(services: Services, item: Item, *, on_label_studio: bool) -> Loaded:
    address = item.address
    own = origin(address) is not None and origin(address) == origin(services.label_studio.url)
    if not (on_label_studio or own or is_label_studio_path(address)):
        if is_on_a_server(address):
            raise InputProblem(f"its picture is on another server; download it and {_REMEDY}")
        raise InputProblem(f"its picture is missing; {_REMEDY}")
    try:
        data = services.label_studio.fetch(address, max_bytes=services.limits.image_bytes)
        width, height = services.decoder.size_of(data)
    except LabelStudioUnavailable:
        raise
    except LabelStudioMissing:
        raise InputProblem(
            "its picture is gone from Label Studio; upload it again"
            if on_label_studio
            else f"its picture is neither beside the file nor in Label Studio; {_REMEDY}"
        ) from None
    except LabelStudioError as refusal:
        raise InputProblem(f"Label Studio does not give its picture ({refusal}); {_REMEDY}") from None
    except BadPicture as problem:
        raise InputProblem(f"its picture in Label Studio cannot be used: {problem}") from None
    name = item.name or name_of(Task(id=0, data={"image": address}))
    digest = hashlib.sha256(data).hexdigest()
    return Loaded(digest=digest, width=width, height=height, name=clean_name(name), address=address)


def _with_suffix(name: str, data: bytes) -> str:
    """Return a name with a suffix that Label Studio accepts.

    Raises:
        InputProblem: Label Studio does not accept files of this kind.
    """
    if Path(name).suffix.lower() in PICTURE_SUFFIXES:
        return name
    kind = kind_of(data)
    if kind not in _SUFFIXES:
        raise InputProblem(f"Label Studio takes no file of this name (it is a {kind}); save it as PNG and add that")
    return name + _SUFFIXES[kind]
