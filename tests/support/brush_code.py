"""Label Studio's own code of brush masks: ``mask2rle`` encodes one as the editor does, ``decode_rle`` decodes it.

The module is loaded without its package, which imports libraries of language and statistics: a second of every process.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any


def _brush_module() -> ModuleType:
    package = find_spec("label_studio_sdk")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0], "converter", "brush.py")
    spec = spec_from_file_location("label_studio_sdk_brush", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_MODULE = _brush_module()
#: Pixels to the numbers of a brush region.
mask2rle: Callable[[Any], list[int]] = _MODULE.mask2rle
#: The numbers of a brush region to pixels.
decode_rle: Callable[[Any], Any] = _MODULE.decode_rle
