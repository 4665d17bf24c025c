"""``s6 cog keypoint``: flags arrive as meant, and what needs no training answers as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer
from cogkp_cli import options
from cogkp_cli.app import app
from typer.testing import CliRunner, Result

import cogkp

COMMAND = typer.main.get_command(app).commands["cog"].commands["keypoint"]  # type: ignore[attr-defined]
TRAIN_FIELDS = frozenset(attrs.fields_dict(cogkp.TrainOptions))


def parsed(*words: str) -> Any:
    return COMMAND.make_context("keypoint", ["--config", "c.json", *words])


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["cog", "keypoint", *map(str, words)])


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return cogkp.write_template(tmp_path / "keypoint.json")


def test_documented_training_line() -> None:
    params = parsed("--train", "-e", "50", "-b", "16", "-lr", "1e-3").params
    assert (params["train"], params["epochs"], params["batch_size"]) == (True, 50, 16)
    assert params["learning_rate"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("short", "long", "value"),
    [
        ("-e", "--epochs", "7"),
        ("-b", "--batch_size", "8"),
        ("-lr", "--learning_rate", "0.5"),
        ("-w", "--num-workers", "0"),
    ],
)
def test_short_and_long_spelling_mean_the_same(short: str, long: str, value: str) -> None:
    assert parsed(short, value).params == parsed(long, value).params == parsed(f"{long}={value}").params


def test_flags_may_be_glued_as_people_do() -> None:
    assert parsed("-te5").params["epochs"] == 5
    assert parsed("-lr=0.25").params["learning_rate"] == 0.25


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], set()),
        (["-e", "100"], {"epochs"}),
        (["-lr", "1e-2", "--verbose-log"], {"learning_rate", "verbose_log"}),
        (["--no-compile"], {"compile"}),
        (["--precision", "bf16", "--seed", "0", "--deploy-batch-size", "2"], {"precision", "seed"}),
    ],
)
def test_only_spelled_out_flags_count_as_given(words: list[str], given: set[str]) -> None:
    assert options.spelled_out(parsed(*words), TRAIN_FIELDS) == given


@pytest.mark.parametrize("verbs", [[], ["--train"], ["--preview-data", "--dry-run", "--train", "--deploy"]])
def test_missing_config_becomes_a_template_and_nothing_else(
    verbs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("-c", "new/keypoint.json", *verbs)
    assert result.exit_code == 0, result.stderr
    assert "wrote a template" in result.stdout
    written = {path.name for path in tmp_path.rglob("*")}
    assert written == {"new", "keypoint.json", "cogkp-keypoint.schema.json"}
    assert cogkp.load_config(tmp_path / "new" / "keypoint.json")


def test_config_without_a_verb_is_checked(template: Path) -> None:
    result = run("-c", template)
    assert result.exit_code == 0
    assert "valid config" in result.stdout


def test_json_answer_is_json_alone(template: Path) -> None:
    result = run("-c", template, "--json")
    assert json.loads(result.stdout) == {"valid": True}


def test_a_dry_run_says_that_it_restores_nothing(template: Path) -> None:
    assert "a dry run takes fresh weights" in run("-c", template, "--dry-run", "--restore", "latest").stderr
    assert "a dry run takes fresh weights" not in run("-c", template, "--dry-run").stderr


def test_deploy_without_weights_is_refused_in_one_line(template: Path) -> None:
    result = run("-c", template, "--deploy")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "--deploy-untrained" in line
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["-e", "0"], "--epochs"),
        (["-e", "many"], "--epochs"),
        (["-b", "0"], "--batch_size"),
        (["-lr", "0"], "--learning_rate"),
        (["-lr", "nan"], "--learning_rate"),
        (["-lr", "inf"], "--learning_rate"),
        (["-w", "-1"], "--num-workers"),
        (["--precision", "fp8"], "--precision"),
        (["--deploy", "--restore", "latest", "--precision", "fp16"], "--deploy makes fp32 or bf16"),
        (["--deploy-batch-size", "-1"], "--deploy-batch-size"),
        (["--log-interval", "0"], "--log-interval"),
        (["--engine-builder", "magic"], "--engine-builder"),
        (["--epoch", "3"], "--epochs"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_flags_are_named(words: list[str], word: str, template: Path) -> None:
    result = run("-c", template, *words)
    assert result.exit_code == 2
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_config_flag_is_required() -> None:
    result = run("--train")
    assert result.exit_code == 2
    assert "--config" in result.stderr


def test_folder_is_no_config(tmp_path: Path) -> None:
    assert run("-c", tmp_path, "--train").exit_code == 2


def test_broken_config_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    result = run("-c", path, "--train")
    assert result.exit_code == 2
    assert "broken.json" in result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
