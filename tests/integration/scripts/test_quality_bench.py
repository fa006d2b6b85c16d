"""The quality bench on a tiny pack: it reads any folder of the format, names missing files, and writes its figures."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO

import cv2
import numpy as np
import pytest

from benches.packs import pack_digest, pack_folders, read_pack
from datagen.errors import DatagenError


def region(control, kind, value, label):
    return {"from_name": control, "to_name": "image", "type": kind, "value": {**value, kind: [label]}}


@pytest.fixture(scope="module")
def pack_folder(tmp_path_factory):
    """Dark discs on grained plates: 3 concepts, 3 canvases, 4 backgrounds, 6 test and 12 reference images."""
    folder = tmp_path_factory.mktemp("packs") / "discs"
    for name, count in {"concept": 3, "canvas": 3, "background": 4, "test": 6, "reference": 12}.items():
        (folder / name).mkdir(parents=True)
        (folder / f"{name}_mask").mkdir()
        tasks = []
        for number in range(count):
            chance = np.random.default_rng([len(name), number])
            picture = np.clip(chance.normal(150, 5, (96, 112)), 0, 255).astype(np.uint8)
            task = {"data": {"image": f"{name}/{number}.png"}}
            if name in ("concept", "reference") or (name == "test" and number % 2 == 0):
                mask = np.zeros_like(picture)
                x, y = (int(v) for v in chance.integers(25, 70, 2))
                cv2.circle(mask, (x, y), 8, 255, -1)
                picture[mask > 0] = 40
                cv2.imwrite(str(folder / f"{name}_mask" / f"{number}.png"), mask)
                task["data"]["mask"] = f"{name}_mask/{number}.png"
                value = {
                    "x": (x - 11) * 100 / 112,
                    "y": (y - 11) * 100 / 96,
                    "width": 2300 / 112,
                    "height": 2300 / 96,
                    "rotation": 0,
                }
                task["annotations"] = [{"result": [region("concept", "rectanglelabels", value, "disc")]}]
            if name == "canvas":
                value = {"points": [[5, 5], [95, 5], [95, 95], [5, 95]]}
                task["annotations"] = [{"result": [region("canvas", "polygonlabels", value, "area")]}]
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
            tasks.append(task)
        (folder / f"{name}.json").write_text(json.dumps(tasks))
    return folder


def test_a_folder_of_packs_is_every_pack_in_it(pack_folder):
    (pack_folder.parent / "README.md").write_text("no pack")
    assert pack_folders([pack_folder.parent]) == [pack_folder]
    assert pack_folders([pack_folder]) == [pack_folder]


def test_a_pack_is_read_as_a_study(pack_folder):
    pack = read_pack(pack_folder, shots=2)
    assert pack.spec.labels == ("disc",)
    assert [len(pack.spec.concepts), len(pack.spec.canvases), len(pack.spec.backgrounds)] == [2, 3, 4]
    assert [len(pack.concepts), len(pack.test), len(pack.reference)] == [2, 6, 12]
    assert sum(image.mask.any() for image in pack.test) == 3


def test_missing_files_of_a_pack_are_named(tmp_path):
    with pytest.raises(DatagenError, match=r"is no pack: concept\.json is not there"):
        read_pack(tmp_path)


METHODS = ["few_true", "few_auto", "dwibedi", "poisson", "nsa", "perlin", "ours", "ours_few", "all_real"]


def run(pack_folder, out, *more):
    from benches import quality

    return quality.main(
        ["--data", str(pack_folder), "--seeds", "1", "--steps", "2", "--processes", "1", "--json", str(out), *more]
    )


@pytest.fixture(scope="module")
def figures(pack_folder, tmp_path_factory):
    """A whole comparison, with what it printed beside it."""
    pytest.importorskip("torch", reason="the bench's judges need torch")
    out = tmp_path_factory.mktemp("figures") / "figures.json"
    with redirect_stdout(StringIO()) as printed:
        assert run(pack_folder, out, "--judges", "small", "--methods", *METHODS, "--out", str(out.parent)) == 0
    return out, json.loads(out.read_text()), printed.getvalue()


def test_figures_are_written_in_the_promised_shape(figures):
    out, body, printed = figures
    pack = body["packs"]["discs"]
    assert set(pack) == {
        *("judges", "look", "matte_iou", "outside_changed_px", "visible_share", "nearest_copy"),
        *("c2st_floor", "c2st_floor_sd"),
    }
    assert pack["outside_changed_px"] == 0
    assert pack["matte_iou"] > 0.8
    assert pack["visible_share"] == 1
    assert set(pack["judges"]["small"]) == {"methods", "gap_closed", "harm"}
    assert list(pack["judges"]["small"]["methods"]) == METHODS
    assert {"ap", "ap_sd", "ap50", "ap50_sd", "ap33", "ap33_sd"} == set(pack["judges"]["small"]["methods"]["ours"])
    assert {"c2st", "c2st_sd", "coverage", "coverage_sd"} == set(pack["look"]["ours"])
    assert (out.parent / "discs.png").exists()
    assert (out.parent / "quality.png").exists()
    assert "pixel AP" in printed
    assert "box AP33" in printed


def test_finished_cells_are_not_computed_again(figures, pack_folder, monkeypatch):
    from benches import quality

    out, body, _ = figures
    monkeypatch.setattr(quality, "figures_of", lambda cell, settings: pytest.fail(f"{cell.key} was computed again"))
    assert run(pack_folder, out, "--judges", "small", "--methods", *METHODS) == 0
    assert json.loads(out.read_text()) == body


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (["--parameters", '{"contrast": 0.9}'], {"checks", "few_auto", "ours", "ours_few"}),
        (["--shots", "2"], {"checks", "few_true", "few_auto", "ours", "ours_few", "all_real"}),
    ],
    ids=["a parameter of the engine", "a setting of the bench"],
)
def test_cells_of_another_setting_are_computed_again(figures, pack_folder, tmp_path, monkeypatch, change, again):
    from benches import quality

    computed = []

    def figures_of(cell, _settings):
        computed.append(cell.method)
        return body["cells"][cell.key]["figures"], {"seconds": 0.0, "cpu_seconds": 0.0}

    out, body, _ = figures
    copied = tmp_path / "figures.json"
    copied.write_text(out.read_text())
    monkeypatch.setattr(quality, "figures_of", figures_of)
    methods = ["few_true", "few_auto", "ours", "ours_few", "all_real"]
    assert run(pack_folder, copied, "--judges", "small", "--methods", *methods, *change) == 0
    assert set(computed) == again


def test_a_stopped_comparison_keeps_its_finished_cells(figures, pack_folder, tmp_path, monkeypatch):
    from benches import quality

    _, body, _ = figures
    done = []

    def figures_of(cell, _settings):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(cell.key)
        return body["cells"][cell.key]["figures"], {"seconds": 0.0, "cpu_seconds": 0.0}

    monkeypatch.setattr(quality, "figures_of", figures_of)
    assert run(pack_folder, tmp_path / "figures.json", "--judges", "small") == 130
    assert list(json.loads((tmp_path / "figures.json").read_text())["cells"]) == done


def test_without_the_weights_the_small_judge_judges_alone(figures, pack_folder, monkeypatch, capsys):
    from benches import judges

    out, _, _ = figures
    monkeypatch.setattr(judges, "WEIGHTS_PACKAGE", "no_such_package")
    assert run(pack_folder, out, "--methods", *METHODS) == 0
    assert "The pretrained judge is left out, because its weights are not installed" in capsys.readouterr().err
    assert list(json.loads(out.read_text())["packs"]["discs"]["judges"]) == ["small"]


def test_another_file_is_not_overwritten(pack_folder, tmp_path, capsys):
    pytest.importorskip("torch", reason="the bench's judges need torch")
    other = tmp_path / "figures.json"
    other.write_text("[]")
    assert run(pack_folder, other) == 2
    assert "is not a file of this bench's figures" in capsys.readouterr().err
    assert other.read_text() == "[]"


def test_digest_of_a_pack_changes_with_a_picture(pack_folder, tmp_path):
    copied = tmp_path / "discs"
    shutil.copytree(pack_folder, copied)
    before = pack_digest(copied)
    assert before == pack_digest(pack_folder)
    cv2.imwrite(str(copied / "test" / "0.png"), np.zeros((96, 112), np.uint8))
    assert pack_digest(copied) != before
    (copied / "test" / "0.png").unlink()
    with pytest.raises(DatagenError, match=r"discs is no pack: test/0\.png is not there"):
        pack_digest(copied)
