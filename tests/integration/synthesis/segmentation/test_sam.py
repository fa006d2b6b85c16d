"""SAM and SAM 2 from a folder or a hub, with tiny models of random weights: transformers' own processor agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("huggingface_hub")

from datagen.domain.geometry import Box  # noqa: E402
from datagen.errors import CannotRender, EngineError  # noqa: E402
from datagen.synthesis.engine import load_engine  # noqa: E402
from datagen.synthesis.segmentation import weights as segmentation_weights  # noqa: E402
from datagen.synthesis.segmentation.loading import load_segmenter, problems  # noqa: E402
from hub_server import COMMIT, serving  # noqa: E402
from small_segmenters import SIDE, build_sam, build_sam2, build_sam2_video  # noqa: E402

BOXES = [Box(10, 20, 60, 50), Box(30, 5, 50, 90), Box(0, 0, 140, 90)]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test reaches the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module", params=[build_sam, build_sam2, build_sam2_video])
def either(request, tmp_path_factory):
    """The folder of a tiny SAM, of a tiny SAM 2, and of one with the parts for videos."""
    return request.param(tmp_path_factory.mktemp("either") / "model")


@pytest.fixture
def sam(tmp_path):
    """The folder of a tiny SAM that the test may change."""
    return build_sam(tmp_path / "sam")


@pytest.fixture
def picture():
    """A colour picture, 90 rows of 140 pixels."""
    return np.random.default_rng(0).integers(0, 256, (90, 140, 3)).astype(np.uint8)


def masks_of(folder, picture, boxes):
    return list(load_segmenter(str(folder)).masks(picture, boxes))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_model_of_a_folder_gives_a_mask_of_the_picture_for_each_box(either, picture):
    assert problems(str(either)) == ()
    masks = masks_of(either, picture, BOXES)
    assert [(mask.shape, mask.dtype) for mask in masks] == [((90, 140), np.bool_)] * 3
    assert any(0 < mask.mean() < 1 for mask in masks)


def test_masks_are_the_same_each_time_and_for_each_box_alone(either, picture):
    together = masks_of(either, picture, BOXES)
    alone = [mask for box in BOXES for mask in masks_of(either, picture, [box])]
    assert all((mask == other).mean() > 0.999 for mask, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("kind", ["grey", "deep"])
def test_grey_and_deep_pictures_are_segmented_as_their_colour_equivalents(either, picture, kind):
    grey = picture[:, :, 0]
    expected = masks_of(either, np.dstack([grey] * 3), BOXES)
    masks = masks_of(either, grey if kind == "grey" else grey.astype(np.uint16) * 257, BOXES)
    assert all((mask == other).all() for mask, other in zip(expected, masks, strict=True))


def test_small_box_of_a_large_picture_is_segmented_in_its_window(sam):
    picture = np.random.default_rng(1).integers(0, 256, (900, 1400), dtype=np.uint8)
    (mask,) = masks_of(sam, picture, [Box(700, 500, 12, 12)])
    assert mask.any()
    rows, columns = np.nonzero(mask)
    assert columns.max() - columns.min() < 128
    assert rows.max() - rows.min() < 128


def test_masks_are_those_of_the_processor_of_transformers(sam, picture):
    from transformers import SamModel
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    size = {"height": SIDE, "width": SIDE}
    processor = SamImageProcessorPil(
        size={"longest_edge": SIDE}, pad_size=size, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    inputs = processor(picture, return_tensors="pt")
    scale = SIDE / 140
    boxes = [[box.x * scale, box.y * 41 / 90, box.right * scale, box.bottom * 41 / 90] for box in BOXES]
    with torch.inference_mode():
        result = SamModel.from_pretrained(sam)(
            pixel_values=inputs["pixel_values"], input_boxes=torch.tensor([boxes]), multimask_output=False
        )
    padded = torch.nn.functional.interpolate(result.pred_masks[0], (SIDE, SIDE), mode="bilinear")
    scores = torch.nn.functional.interpolate(padded[:, :, :41], (90, 140), mode="bilinear")
    masks = masks_of(sam, picture, BOXES)
    assert all(
        (mask == reference).mean() > 0.999 for mask, reference in zip(masks, (scores[:, 0] > 0).numpy(), strict=True)
    )


def test_model_whose_input_has_another_size_than_its_configuration_is_refused(sam, picture):
    change(sam / "preprocessor_config.json", size={"longest_edge": 32}, pad_size={"height": 32, "width": 32})
    with pytest.raises(EngineError, match=r"cannot segment .*; choose another with “segmenter”"):
        masks_of(sam, picture, BOXES)


def test_weights_that_lack_numbers_are_refused(sam):
    from safetensors.torch import load_file, save_file

    numbers = load_file(sam / "model.safetensors")
    numbers.pop(next(name for name in sorted(numbers) if name.startswith("vision_encoder")))
    save_file(numbers, sam / "model.safetensors", {"format": "pt"})
    with pytest.raises(EngineError, match="would be filled at random"):
        load_segmenter(str(sam))


def test_code_of_a_model_folder_is_never_run(sam, tmp_path):
    ran = tmp_path / "ran"
    (sam / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    change(sam / "config.json", auto_map={"AutoModelForMaskGeneration": "evil.Evil", "AutoConfig": "evil.Evil"})
    load_segmenter(str(sam))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: change(folder / "config.json", model_type="bert"), "a model of the type 'bert'"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "holds no preprocessor_config.json"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "other weights can run code",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "is half-downloaded",
        ),
        (
            lambda folder: (
                (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors"),
                (folder / "model.safetensors.index.json").write_text(
                    json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "other.safetensors"}})
                ),
            ),
            "lacks other.safetensors",
        ),
        (
            lambda folder: (
                (folder / "model.safetensors").unlink(),
                (folder / "model.safetensors.index.json").write_text(
                    json.dumps({"weight_map": {"a": "../model.safetensors"}})
                ),
            ),
            "index.json cannot be read",
        ),
    ],
)
def test_unusable_folder_is_named_by_the_engines_check_before_work_is_queued(sam, damage, problem):
    damage(sam)
    for engine in ("composite", "diffusion"):
        sentences = load_engine(engine).check({"segmenter": str(sam)})
        assert any(problem in text and str(sam) in text for text in sentences), sentences
    with pytest.raises(CannotRender, match=problem):
        load_segmenter(str(sam))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/nowhere", "“segmenter” names the folder /nowhere, which is not on this machine"),
        ("owner/name", "set it to owner/name@ and the 40 digits of a commit"),
        ("owner/name@main", "set it to owner/name@ and the 40 digits of a commit"),
        (f"owner/name@{COMMIT}", "HF_HUB_OFFLINE forbids fetching them; download them elsewhere and set “segmenter”"),
        ("s" * 5000, "“segmenter” names cannot be read"),
    ],
)
def test_model_that_is_not_here_is_named_with_its_remedy(name, problem):
    (sentence,) = load_engine("composite").check({"segmenter": name})
    assert problem in sentence


def test_missing_extra_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(
        segmentation_weights, "find_spec", lambda name: None if name == "transformers" else find_spec(name)
    )
    assert load_engine("composite").check({"segmenter": "/nowhere"}) == (
        "Transformers is not installed here, which “segmenter” needs; run: pip install "
        "'label-studio-datagen[diffusion]', or clear “segmenter”.",
    )
    assert load_engine("composite").check({}) == ()


def test_model_that_needs_more_memory_than_there_is_is_refused(sam, monkeypatch):
    monkeypatch.setattr(segmentation_weights, "installed_memory", lambda: 10**8)
    assert any("choose a smaller model with “segmenter”" in text for text in problems(str(sam)))


def test_asking_imports_no_torch(sam):
    code = (
        "import sys; from datagen.synthesis.engine import load_engine\n"
        f"assert not load_engine('composite').check({{'segmenter': {str(sam)!r}}})\n"
        "sys.exit(int(bool({'torch', 'transformers'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def hub(sam, tmp_path, monkeypatch):
    """A hub on this machine that holds the tiny SAM as owner/name, and a cache that is empty."""
    with serving(sam, tmp_path / "cache", monkeypatch) as server:
        yield server


def fetched_weights(hub):
    return [path for method, path in hub.asked if method == "GET" and path.endswith(".safetensors")]


def test_model_of_the_hub_is_fetched_when_it_is_loaded_and_then_found_without_asking(hub, sam, picture):
    name = f"owner/name@{COMMIT}"
    (sam / "evil.py").touch()
    (sam / "pytorch_model.bin").touch()
    assert load_engine("composite").check({"segmenter": name}) == ()
    assert fetched_weights(hub) == []
    segmenter = load_segmenter(name)
    assert segmenter.description.startswith(f"{name} (weights ")
    expected = masks_of(sam, picture, BOXES)
    assert all((mask == other).all() for mask, other in zip(segmenter.masks(picture, BOXES), expected, strict=True))
    assert not [path for _, path in hub.asked if path.endswith((".py", ".bin"))]
    hub.asked.clear()
    load_segmenter(name)
    assert hub.asked == []


def test_model_of_the_hub_that_segments_nothing_is_refused_before_its_weights_are_fetched(hub, sam):
    change(sam / "config.json", model_type="bert")
    (sentence,) = problems(f"owner/name@{COMMIT}")
    assert sentence.startswith("Owner/name is a model of the type 'bert'")
    assert fetched_weights(hub) == []


def test_model_of_the_hub_without_safetensors_is_refused(hub, sam):
    (sam / "model.safetensors").rename(sam / "pytorch_model.bin")
    (sentence,) = problems(f"owner/name@{COMMIT}")
    assert "on the hub has no model.safetensors, and other weights can run code" in sentence


def test_name_that_the_hub_does_not_know_is_said(hub):
    (sentence,) = problems(f"owner/other@{COMMIT}")
    assert "hub knows no weights 'owner/other'; correct “segmenter”" in sentence


def test_hub_that_cannot_be_reached_is_said(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (sentence,) = problems(f"owner/name@{COMMIT}")
    assert "the hub cannot be reached" in sentence
    assert "set “segmenter” to their folder" in sentence


def test_composite_engine_cuts_out_with_the_model_and_reports_it(study, sam):
    spec, shelf = study(concepts=2, canvases=2, backgrounds=2, parameters={"segmenter": str(sam)})
    fitted = load_engine("composite").fit(spec, shelf, lambda _share, _step: None)
    (detail,) = [line for line in fitted.report.details if "segmentation model" in line and str(sam) in line]
    assert "on cpu" in detail or "on cuda" in detail
    first, again = (next(iter(fitted.render([0]))) for _ in range(2))
    assert (first.image == again.image).all()


def test_fit_without_the_model_names_the_remedy(study):
    spec, shelf = study(concepts=2, canvases=2, backgrounds=2, parameters={"segmenter": str(Path("/nowhere"))})
    with pytest.raises(CannotRender, match="place the model there"):
        load_engine("composite").fit(spec, shelf, lambda _share, _step: None)
