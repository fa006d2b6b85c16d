"""The quality bench on a tiny pack: it reads any folder of the format, names missing files, and writes its figures."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from benches.packs import pack_folders, read_pack
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
    assert sum(one.mask.any() for one in pack.test) == 3


def test_missing_files_of_a_pack_are_named(tmp_path):
    with pytest.raises(DatagenError, match=r"is no pack: concept\.json is not there"):
        read_pack(tmp_path)


def test_figures_are_written_in_the_promised_shape(pack_folder, tmp_path, capsys):
    pytest.importorskip("torch", reason="the bench's segmenter needs torch")
    from benches import quality

    out = tmp_path / "figures.json"
    methods = ["few_true", "dwibedi", "poisson", "nsa", "perlin", "ours", "ours_few"]
    where = ["--json", str(out), "--out", str(tmp_path), "--kept", str(tmp_path / "kept.json")]
    done = quality.main(["--data", str(pack_folder), "--seeds", "1", "--steps", "4", "--methods", *methods, *where])
    assert done == 0
    figures = json.loads(out.read_text())["packs"]["discs"]
    assert set(figures) == {
        *("methods", "matte_iou", "outside_changed_px", "visible_share", "nearest_copy"),
        *("c2st_floor", "c2st_floor_sd"),
    }
    assert figures["outside_changed_px"] == 0
    assert figures["matte_iou"] > 0.8
    assert figures["visible_share"] == 1
    assert set(figures["methods"]["ours"]) >= {"ap", "ap_sd", "ap50", "c2st", "coverage"}
    assert (tmp_path / "discs.png").exists()
    assert (tmp_path / "quality.png").exists()
    assert len(json.loads((tmp_path / "kept.json").read_text())) == 7
    assert "pixel AP" in capsys.readouterr().out
