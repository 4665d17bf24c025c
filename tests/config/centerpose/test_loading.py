"""Files as people write them, overrides, and every mistake at once with its place."""

import json

import jsonschema
import pytest

from cogkp.config.centerpose.io import dump_experiment, load_experiment, structure_experiment
from cogkp.config.centerpose.schema import experiment_schema
from cogkp.config.centerpose.spec import VERBS, CenterPoseConfig
from cogkp.errors import ConfigError
from tests.builders.experiments import PAGE_EXAMPLE

PAGE_SECTIONS = {
    "evaluate": """\
evaluate:
  checkpoint: /path/to/model.pth
  opencv: False
  eval_num_symmetry: 1
  results_dir: /path/to/saving/directory
""",
    "inference": """\
inference:
  checkpoint: /path/to/model.pth
  visualization_threshold: 0.3
  principle_point_x: 300.7
  principle_point_y: 392.8
  focal_length_x: 615.0
  focal_length_y: 615.0
  skew: 0.0
  use_pnp: True
  save_json: True
  save_visualization: True
  opencv: True
""",
    "export": """\
export:
  gpu_id: 0
  checkpoint: /path/to/model.pth
  onnx_file: /path/to/model.onnx
  input_channel: 3
  input_width: 512
  input_height: 512
  opset_version: 16
  do_constant_folding: True
""",
}

FOCAL = {"focal_length_x": 1, "focal_length_y": 2}

NEEDED = {
    "train": ["dataset.train_data", "dataset.val_data"],
    "evaluate": ["dataset.test_data", "evaluate.checkpoint"],
    "inference": ["dataset.inference_data", "inference.checkpoint"],
    "export": ["export.checkpoint"],
    "gen_trt_engine": ["gen_trt_engine.onnx_file", "gen_trt_engine.trt_engine"],
}


@pytest.fixture
def spec(tmp_path):
    def write(text):
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path, overrides=(), verb=None):
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides, verb=verb)
    return [str(problem).replace(str(path), "spec.yaml") for problem in caught.value.problems]


class TestThePage:
    def test_its_example_trains(self, spec):
        found = load_experiment(spec(PAGE_EXAMPLE), verb="train")
        assert found.dataset.train_data == "/path/to/category/train/"
        assert found.dataset.batch_size == 64
        assert found.dataset.category == "bike"
        assert found.train.optim.lr == 6e-5
        assert found.train.optim.lr_steps == (90, 120)
        assert found.train.checkpoint_interval == 5
        assert found.model.use_pretrained
        assert found.model.backbone.model_type == "fan_small"
        assert found.train.loss_config == CenterPoseConfig().train.loss_config

    def test_its_sections_run(self, spec):
        path = spec(PAGE_EXAMPLE + "".join(PAGE_SECTIONS.values()))
        found = load_experiment(path, ["dataset.test_data=t", "dataset.inference_data=i"])
        for verb in ("train", "evaluate", "inference", "export"):
            overrides = ["dataset.test_data=t", "dataset.inference_data=i"]
            assert load_experiment(path, overrides, verb=verb) == found
        assert found.inference.K == ((615.0, 0.0, 300.7), (0.0, 615.0, 392.8), (0.0, 0.0, 1.0))
        assert found.evaluate.model_file == "/path/to/model.pth"

    def test_its_command_lines_are_read(self, spec):
        overrides = ["results_dir=/out", "model.use_pretrained=false", "train.gpu_ids=[0,1]", "train.num_gpus=1"]
        found = load_experiment(spec(PAGE_EXAMPLE), overrides, verb="train")
        assert (found.results_dir, found.model.use_pretrained, found.train.gpus) == ("/out", False, (0, 1))


class TestSpellings:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"dataset": {"inference data": "a"}}, {"dataset": {"inference_data": "a"}}),
            ({"dataset": {"_eig_val": [1, 2, 3]}}, {"dataset": {"eig_val": [1, 2, 3]}}),
            ({"inference": {"principal_point_x": 3, "principal_point_y": 4, **FOCAL}},
             {"inference": {"principle_point_x": 3, "principle_point_y": 4, **FOCAL}}),
            ({"model": {"backbone": {"model_type": "FAN_SMALL"}}},
             {"model": {"backbone": {"model_type": "fan_small"}}}),
            ({"model": {"backbone": {"model_type": "dla34"}}}, {"model": {"backbone": {"model_type": "DLA34"}}}),
            ({"train": {"precision": "FP16"}}, {"train": {"precision": "fp16"}}),
            ({"gen_trt_engine": {"tensorrt": {"data_type": "fp16"}}},
             {"gen_trt_engine": {"tensorrt": {"data_type": "FP16"}}}),
            ({"dataset": {"train_data": ""}, "export": {"onnx_file": ""}}, {}),
            ({"gen_trt_engine": {"tensorrt": {"calibration": {"cal_image_dir": "a"}}}},
             {"gen_trt_engine": {"tensorrt": {"calibration": {"cal_image_dir": ["a"]}}}}),
        ],
    )  # fmt: skip
    def test_mean_the_same(self, one, other):
        assert structure_experiment(one) == structure_experiment(other)
        jsonschema.Draft202012Validator(experiment_schema()).validate(one)

    def test_two_of_one_key_are_refused(self, spec):
        path = spec("dataset:\n  inference_data: a\n  inference data: b\n")
        assert problems(path) == [
            "key given twice @ dataset.inference_data in spec.yaml, line 3: expected one of its names, "
            "got ['inference_data', 'inference data']"
        ]

    def test_an_override_may_use_another_one_than_the_file(self, spec):
        path = spec("dataset:\n  inference data: a\n")
        assert load_experiment(path, ["dataset.inference_data=b"]).dataset.inference_data == "b"
        assert load_experiment(path, ["dataset.inference data=b"]).dataset.inference_data == "b"


class TestOverrides:
    def test_win_over_the_file_and_over_earlier_ones(self, spec):
        path = spec(PAGE_EXAMPLE)
        found = load_experiment(
            path, ["train.num_epochs=7", "train.num_epochs=8", "train.optim={lr: 1, lr_decay: 0.5}"]
        )
        assert found.train.num_epochs == 8
        assert (found.train.optim.lr, found.train.optim.lr_decay, found.train.optim.lr_steps) == (1.0, 0.5, (90, 120))

    def test_mend_what_is_wrong_in_the_file(self, spec):
        assert load_experiment(spec("train: {num_gpus: many}\n"), ["train.num_gpus=2"]).train.num_gpus == 2

    def test_may_stand_for_other_values(self, spec):
        found = load_experiment(
            spec(PAGE_EXAMPLE), ["train.seed=${train.num_epochs}", "results_dir=${dataset.category}/x"]
        )
        assert found.train.seed == 10
        assert found.results_dir == "bike/x"

    @pytest.mark.parametrize(
        ("override", "value"),
        [("=null", None), ("=", None), ("=''", None), ("='a b'", "a b"), ('="1"', "1"), ("=/a/b", "/a/b")],
    )
    def test_of_a_path(self, spec, override, value):
        assert load_experiment(spec(""), [f"evaluate.checkpoint{override}"]).evaluate.checkpoint == value


class TestMistakes:
    def test_are_told_at_once_with_file_and_line(self, spec):
        text = """\
dataset:
  num_classes: 2
  categroy: bike
train:
  optim:
    lr: fast
    lr_steps: [90, x]
  num_epochs: 0
  seed: ${train.sede}
modell: {}
results_dir: 2024
"""
        assert problems(spec(text), ["train.gpu_ids=0", "export.checkpiont=a", "evaluate.opencv=maybe"]) == [
            "no such value @ train.seed in spec.yaml, line 9: expected the path of a value, got '${train.sede}'. "
            "Did you mean 'seed'?",
            "unknown key @ dataset.categroy in spec.yaml, line 3: expected one of "
            + ", ".join(repr(key) for key in dump_experiment(CenterPoseConfig())["dataset"])
            + ", got 'categroy'. Did you mean 'category'?",
            "wrong type @ train.optim.lr in spec.yaml, line 6: expected a number, got 'fast'",
            "wrong type @ train.optim.lr_steps[1] in spec.yaml, line 7: expected an integer, got 'x'",
            "out of range @ train.num_epochs in spec.yaml, line 8: expected a number from 1 to 1000000, got 0",
            "wrong type @ train.gpu_ids in the override 'train.gpu_ids=0': expected a list of integers, got 0",
            "unknown key @ modell in spec.yaml, line 10: expected one of "
            + ", ".join(repr(key) for key in dump_experiment(CenterPoseConfig()))
            + ", got 'modell'. Did you mean 'model'?",
            "wrong type @ results_dir in spec.yaml, line 11: expected a string or null, got 2024. Put quotes round it.",
            "unknown key @ export.checkpiont in the override 'export.checkpiont=a': expected one of "
            + ", ".join(repr(key) for key in dump_experiment(CenterPoseConfig())["export"])
            + ", got 'checkpiont'. Did you mean 'checkpoint'?",
            "wrong type @ evaluate.opencv in the override 'evaluate.opencv=maybe': expected true or false, got 'maybe'",
            "wrong number of classes @ dataset.num_classes in spec.yaml, line 2: expected 1, got 2. "
            "Make one spec per category, with its own folders of images.",
        ]

    def test_a_document_is_an_object(self, spec):
        assert problems(spec("[1]\n")) == ["wrong type @ spec.yaml: expected an object, got [1]"]

    def test_an_empty_section_is_none(self, spec):
        assert problems(spec("train:\n")) == ["wrong type @ train in spec.yaml, line 1: expected an object, got None"]

    def test_an_unknown_verb(self, spec):
        with pytest.raises(ConfigError, match=r"there is no such verb .* got 'evalute'\. Did you mean 'evaluate'\?"):
            load_experiment(spec(""), verb="evalute")

    def test_of_overrides_are_told_with_those_of_the_file(self, spec):
        assert problems(spec("train: {seed: x}\n"), ["dataset.train_data", "+b=1", "evaluate.opencv=3"], "train") == [
            "not an override @ the command line: expected section.key=value, got 'dataset.train_data'",
            "not available @ the command line: expected no + or ~ before the key, got '+b=1'. "
            "Every key exists already: write key=value.",
            "wrong type @ train.seed in spec.yaml, line 1: expected an integer, got 'x'",
            "wrong type @ evaluate.opencv in the override 'evaluate.opencv=3': expected true or false, got 3",
        ]


class TestWhatAVerbNeeds:
    @pytest.mark.parametrize("verb", VERBS)
    def test_is_told_at_once(self, spec, verb):
        lines = problems(spec("model: {}\n"), ["results_dir=null"], verb)
        assert [line.split(" in ")[0] for line in lines] == [
            f"missing value @ {key}" for key in [*NEEDED[verb], "results_dir"]
        ]
        key = NEEDED[verb][0]
        assert lines[0].endswith(f"Write it into the file, or add {key}=... to the command.")

    @pytest.mark.parametrize("verb", VERBS)
    def test_is_enough(self, spec, verb):
        endings = {"onnx_file": "a.onnx"}
        given = [f"{key}={endings.get(key.rsplit('.', 1)[1], 'a')}" for key in NEEDED[verb]]
        load_experiment(spec(""), given, verb=verb)
        load_experiment(spec(""), [*given, "results_dir=", f"{verb}.results_dir=b"], verb=verb)

    @pytest.mark.parametrize("verb", ["evaluate", "inference"])
    def test_an_engine_does_instead_of_a_checkpoint(self, spec, verb):
        data = {"evaluate": "test_data", "inference": "inference_data"}[verb]
        found = load_experiment(spec(""), [f"dataset.{data}=a", f"{verb}.trt_engine=m.trt"], verb=verb)
        assert getattr(found, verb).model_file == "m.trt"

    def test_int8_needs_pictures(self, spec):
        given = [
            "gen_trt_engine.onnx_file=a.onnx",
            "gen_trt_engine.trt_engine=b",
            "gen_trt_engine.tensorrt.data_type=int8",
        ]
        lines = problems(spec(""), given, "gen_trt_engine")
        assert [line.split(" ")[3].rsplit(".", 1)[1] for line in lines] == ["cal_image_dir", "cal_cache_file"]

    def test_open_values_are_demanded_where_they_are_read(self, spec):
        text = """\
results_dir: ???
dataset:
  train_data: ???
  val_data: ${dataset.train_data}
  test_data: ???
  batch_size: ???
model:
  backbone: ???
train:
  optim:
    lr: ???
    lr_steps: [1, "???"]
evaluate:
  checkpoint: ???
  opencv: ???
export: ???
"""
        path = spec(text)

        def asked(verb, *overrides):
            return [line.split(" @ ")[1].split(" in ")[0] for line in problems(path, overrides, verb)]

        shared = ["dataset.batch_size", "model.backbone"]
        assert asked("train") == [
            "dataset.train_data", "dataset.val_data", "results_dir", *shared,
            "train.optim.lr", "train.optim.lr_steps[1]",
        ]  # fmt: skip
        assert asked("evaluate") == [
            "dataset.test_data", "evaluate.checkpoint", "results_dir", *shared, "evaluate.opencv",
        ]  # fmt: skip
        assert asked("evaluate", "evaluate.results_dir=a") == [
            "dataset.test_data", "evaluate.checkpoint", *shared, "evaluate.opencv",
        ]  # fmt: skip
        assert asked("export") == ["export.checkpoint", "results_dir", *shared, "export"]
        assert load_experiment(path).train.optim.lr == 6e-5

    @pytest.mark.parametrize("verb", ["evaluate", "inference"])
    def test_of_two_models_the_one_that_is_not_read_may_stay_open(self, spec, verb):
        data = "dataset: {test_data: a, inference_data: a}\n"
        for given, left in (("trt_engine", "checkpoint"), ("checkpoint", "trt_engine")):
            path = spec(f"{data}{verb}: {{{given}: m.onnx, {left}: '???'}}\n")
            assert getattr(load_experiment(path, verb=verb), verb).model_file == "m.onnx"
        lines = problems(spec(f"{data}{verb}: {{checkpoint: '???', trt_engine: '???'}}\n"), (), verb)
        assert {line.split(" ")[3] for line in lines} == {f"{verb}.checkpoint", f"{verb}.trt_engine"}

    @pytest.mark.parametrize("asked", ["fp32", "FP16", "int8"])
    def test_pictures_of_a_calibration_are_demanded_for_int8_alone(self, spec, asked):
        path = spec(
            "gen_trt_engine:\n  onnx_file: a.onnx\n  trt_engine: b\n  tensorrt:\n"
            f"    data_type: {asked}\n    calibration: {{cal_image_dir: '???', cal_cache_file: '???'}}\n"
        )
        if asked == "int8":
            assert len(problems(path, (), "gen_trt_engine")) == 2
        else:
            assert load_experiment(path, verb="gen_trt_engine").gen_trt_engine.tensorrt.calibration.cal_image_dir == ()

    def test_keys_outside_their_section_are_led_home(self, spec):
        text = "down_ratio: 4\nuse_pretrained: true\nbackbone: {model_type: DLA34}\nnum_gpus: 1\nlrs: 1\n"
        hints = [line.split(". ", 1)[1] if ". " in line else "" for line in problems(spec(text))]
        home = "Did you mean 'model.{0}'? Indent it below model:."
        assert hints == [*(home.format(key) for key in ("down_ratio", "use_pretrained", "backbone")), "", ""]

    def test_names_of_encrypted_models_are_refused_with_advice(self, spec):
        (line,) = problems(spec("export: {onnx_file: a.etlt}\n"))
        assert line.endswith("got 'a.etlt'. Models are never encrypted; end the name in .onnx.")
        (line,) = problems(spec("export: {onnx_file: a.pt}\n"))
        assert line.endswith("got 'a.pt'")

    def test_an_open_value_names_its_line(self, spec):
        given = ["dataset.train_data=a", "dataset.val_data=b"]
        assert problems(spec("\nmodel:\n  use_pretrained: ???\n"), given, "train") == [
            "missing value @ model.use_pretrained in spec.yaml, line 3: expected a value in place of ???. "
            "Write it into the file, or add model.use_pretrained=... to the command."
        ]

    def test_what_was_refused_is_not_missing_too(self, spec):
        (line,) = problems(spec("dataset: {train_data: 3, val_data: b}\n"), (), "train")
        assert line.startswith("wrong type @ dataset.train_data")


def test_the_schema_accepts_what_editors_should(spec):
    validator = jsonschema.Draft202012Validator(experiment_schema())
    validator.validate({"train": {"seed": "${train.num_epochs}", "num_epochs": "???"}, "model": "${other}"})
    for wrong in ({"trian": {}}, {"train": {"seed": "1"}}, {"train": {"precision": "fp8"}}, {"dataset": {"mean": [1]}}):
        assert not validator.is_valid(wrong)
    json.dumps(experiment_schema())
