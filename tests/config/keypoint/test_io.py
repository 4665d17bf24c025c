import contextlib
import json
import os
import random

import pytest

from cogkp.config.keypoint.io import dump, load, structure, template, write_template
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.errors import ConfigError, OutputError

PAGE_DEFAULTS = {
    "prefix": "model",
    "base_dir": [],
    "data_mappings": {"x": ["B.image"], "y": [["B.tip_point"]]},
    "targets": {"keypoints": True, "segmentation": False},
    "augmentations": [{"type": kind} for kind in ("crop", "affine", "intensity", "blur", "noise", "cutout")],
    "sampling": {"enabled": False},
    "num_segmentation_classes": None,
    "segmentation_loss_weight": 1.0,
    "calibration_file": None,
    "stereo_pairing": {"enabled": False, "cameras": None, "use_unlabelled": False},
    "loss_terms": {
        "supervised_keypoint_loss": {"weight": 1.0},
        "segmentation_loss": {"weight": 1.0},
        "triangulation_reprojection_loss": {"weight": 0.0},
        "triangulation_rigidity_loss": {"weight": 0.0},
    },
}

BEYOND_THE_PAGE = {
    "data_mappings": {"mask": None, "valid": None, "xyz_world": None, "keep_points_outside_image": False},
    "sampling": {"weights": None, "samples_per_epoch": None},
    "loss_terms": {
        "triangulation_rigidity_loss": {"segments": [[0, 1, 1.5], [1, 2, 2.0]]},
        "heatmap_regularization_loss": {"weight": 0.0, "sigma_px": 6.0},
    },
    "validation": {"base_dir": []},
    "uncertainty": {"noise_px": 0.1},
    "model": {"preset": "small"},
    "images": {"apply_exif_orientation": False, "levels_16bit": None},
}


def merged(one, other):
    both = {
        key: merged(one[key], other[key]) if isinstance(one[key], dict) else one[key] for key in one if key in other
    }
    return {**one, **other, **both}


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem) for problem in caught.value.problems]


def write(tmp_path, text):
    path = tmp_path / "keypoint.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestTemplate:
    def test_holds_the_documented_live_defaults_in_their_order(self):
        found = template()
        kinds = [{"type": stage["type"]} for stage in found["augmentations"]]
        assert {**found, "augmentations": kinds} == merged(PAGE_DEFAULTS, BEYOND_THE_PAGE)
        assert list(found) == [*PAGE_DEFAULTS, "validation", "uncertainty", "model", "images"]
        assert list(found["loss_terms"]) == [*PAGE_DEFAULTS["loss_terms"], "heatmap_regularization_loss"]
        assert found["augmentations"][0]["output_size"] == 256
        assert found["augmentations"][0]["region"] == "frame"

    def test_page_alone_means_the_same(self):
        assert structure(PAGE_DEFAULTS) == structure({}) == KeypointConfig.default() == structure(template())

    def test_is_written_with_a_schema_that_its_pointer_reaches(self, tmp_path):
        path = write_template(tmp_path / "configs" / "cog" / "new.json")
        document = json.loads(path.read_text())
        schema = json.loads((path.parent / document.pop("$schema")).read_text())
        assert "prefix" in schema["properties"]
        assert document == template()
        assert load(path) == KeypointConfig.default()
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["cogkp-keypoint.schema.json", "new.json"]

    def test_a_second_one_shares_and_renews_the_schema(self, tmp_path):
        write_template(tmp_path / "one.json")
        schema = tmp_path / "cogkp-keypoint.schema.json"
        schema.write_text('{"$comment": "written by cogkp"}')
        write_template(str(tmp_path / "two.json"))
        assert len(list(tmp_path.iterdir())) == 3
        assert json.loads(schema.read_text())["properties"]

    def test_a_schema_of_somebody_else_stays(self, tmp_path):
        (tmp_path / "cogkp-keypoint.schema.json").write_text("{}")
        with pytest.raises(OutputError, match="did not write"):
            write_template(tmp_path / "one.json")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("cogkp-keypoint.schema.json", "{}")]

    @pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
    def test_overwrites_nothing(self, tmp_path, kind):
        path = tmp_path / "config.json"
        if kind == "file":
            path.write_text("mine")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(OutputError, match=r"will not overwrite @ .*config\.json\. Move it away"):
            write_template(path)
        assert list(tmp_path.iterdir()) == [path]

    def test_says_where_it_cannot_write(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match=r"cannot write @ .*file"):
            write_template(tmp_path / "file" / "config.json")

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions bind no administrator")
    def test_says_that_a_folder_is_closed(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="Permission denied"):
            write_template(tmp_path / "config.json")
        tmp_path.chmod(0o700)
        assert not list(tmp_path.iterdir())

    def test_lists_of_numbers_stay_on_one_line(self, tmp_path):
        text = write_template(tmp_path / "config.json").read_text()
        assert '  "base_dir": [],\n' in text
        assert '"segments": [[0, 1, 1.5], [1, 2, 2.0]]\n' in text
        assert text.endswith("}\n")


class TestLoad:
    def test_reads_a_byte_order_mark(self, tmp_path):
        assert load(write(tmp_path, b"\xef\xbb\xbf{}")) == KeypointConfig.default()

    def test_ignores_the_pointer_to_the_schema(self, tmp_path):
        assert load(write(tmp_path, '{"$schema": "anything"}')) == KeypointConfig.default()

    def test_names_a_missing_file(self, tmp_path):
        (line,) = refusal(tmp_path / "none.json")
        assert line == f"cannot read the config @ {tmp_path / 'none.json'}: got No such file or directory"

    def test_names_a_folder(self, tmp_path):
        (line,) = refusal(tmp_path)
        assert "Is a directory" in line

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b'{"prefix": "\xff"}', "not UTF-8 text"),
            ("{}".encode("utf-16"), "not UTF-8 text"),
            ('{\n  "prefix": model\n}', "keypoint.json, line 2 column 13"),
            ("", "line 1 column 1"),
            ('{"prefix": "a",}', "line 1 column"),
            ('{"prefix": "a"} x', "line 1 column 17"),
            ("[" * 100_000, "nested too deeply"),
            ('{"a":' * 950 + "1" + "}" * 950, ""),
            ('{"num_segmentation_classes": ' + "9" * 5000 + "}", "unreadable number"),
            ("[]", "expected an object, got []"),
            ("null", "expected an object, got None"),
            ('{"segmentation_loss_weight": NaN}', "expected a finite number, got nan"),
            ('{"segmentation_loss_weight": 1e999}', "expected a finite number, got inf"),
        ],
    )
    def test_unreadable_text_gives_one_line(self, tmp_path, text, words):
        (line,) = refusal(write(tmp_path, text))
        assert words in line
        assert "keypoint.json" in line
        assert "\n" not in line

    def test_a_key_given_twice_is_refused_beside_other_mistakes(self, tmp_path):
        text = '{"prefix": "a", "prefix": "b", "augmentations": [{"type": "crop", "margin": 1, "margin": "x"}]}'
        lines = refusal(write(tmp_path, text))
        where = f"in {tmp_path / 'keypoint.json'}"
        assert lines == [
            f"key given twice @ prefix {where}: expected each key once, got 'prefix'",
            f"key given twice @ augmentations[0].margin {where}: expected each key once, got 'margin'",
            f"wrong type @ augmentations[0].margin {where}: expected a number, got 'x'",
        ]

    def test_mutilated_files_never_give_another_error(self, tmp_path):
        random_ = random.Random(0)
        whole = json.dumps(template()).encode()
        for _ in range(300):
            start, length = random_.randrange(len(whole)), random_.choice((1, 1, 3, 5000))
            path = write(tmp_path, whole[:start] + random_.randbytes(random_.randrange(3)) + whole[start + length :])
            with contextlib.suppress(ConfigError):
                config = load(path)
                assert structure(dump(config)) == config
