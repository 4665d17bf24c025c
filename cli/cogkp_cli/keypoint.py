"""``s6 cog keypoint``: preview, dry run, train, deploy; always in this order."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console, complain
from cogkp_cli.failures import INTERRUPTED, MISUSED

if TYPE_CHECKING:
    from cogkp import DeployOptions, KeypointConfig, TrainOptions

__all__ = ["keypoint"]


def keypoint(
    ctx: typer.Context,
    config: flag.ConfigFile,
    preview_data: flag.PreviewData = False,
    dry_run: flag.DryRun = False,
    train: flag.Train = False,
    deploy: flag.Deploy = False,
    deploy_untrained: flag.DeployUntrained = False,
    restore: flag.Restore = None,
    allow_config_change: flag.AllowConfigChange = False,
    encoder_weights: flag.EncoderWeights = None,
    checkpoint_interval: flag.CheckpointInterval = "10min",
    keep_last: flag.KeepLast = 2,
    epochs: flag.Epochs = 100,
    batch_size: flag.BatchSize = 32,
    accumulate: flag.Accumulate = 1,
    learning_rate: flag.LearningRate = 1e-2,
    clip_norm: flag.ClipNorm = 1.0,
    ema_decay: flag.EmaDecay = 0.0,
    patience: flag.WaitFor = 0,
    overfit_one_batch: flag.OverfitOneBatch = False,
    precision: flag.PrecisionChoice = None,
    compile: flag.Compile = False,
    profile: flag.Profile = False,
    seed: flag.Seed = 0,
    num_workers: flag.NumWorkers = 4,
    prefetch_factor: flag.PrefetchFactor = 4,
    deploy_path: flag.DeployPath = None,
    deploy_batch_size: flag.DeployBatchSize = 1,
    no_engine: flag.NoEngine = False,
    engine_builder: flag.EngineBuilder = flag.BuilderName.AUTO,
    no_tb: flag.NoTb = False,
    log_dir: flag.LogDir = Path("logs/cog"),
    verbose_log: flag.VerboseLog = False,
    log_interval: flag.LogInterval = 10,
    no_report: flag.NoReport = False,
    preview_dir: flag.PreviewDir = Path("preview"),
    as_json: flag.Json = False,
) -> None:
    """Preview, dry run, train and deploy a keypoint model, in this order.

    A missing config file is written as a template, and nothing else is done.
    """
    launch = cogkp.launched()
    report = Console(as_json, silent=not launch.first)
    if launch.ranks == 1 and not config.exists():
        _write_template(report, config)
        return
    _check_deploy(deploy=deploy, has_source=train or deploy_untrained or restore is not None, precision=precision)
    with cogkp.joined() if launch.ranks > 1 else nullcontext():
        settings = cogkp.load_config(config)
        if not (preview_data or dry_run or train or deploy):
            _confirm(report, config)
            return
        _carry_out(ctx, report, settings, first=launch.first)
    report.finish()


def _carry_out(ctx: typer.Context, report: Console, settings: KeypointConfig, *, first: bool) -> None:
    """Do what was asked for, in the fixed order; of several processes all train, and the first does the rest."""
    asked = {**ctx.params, **({} if first else {"preview_data": False, "dry_run": False, "deploy": False})}
    plan, restore = _train_options(asked), asked["restore"]
    logs = None if asked["no_tb"] else Path(asked["log_dir"])
    if asked["preview_data"]:
        _preview(report, settings, plan, Path(asked["preview_dir"]))
    if asked["dry_run"]:
        _dry_run(report, settings, plan, logs)
    if asked["train"] and asked["deploy"] and (missing := cogkp.missing_builder(_deploy_options(asked))):
        complain(f"warning: after the training there will be an ONNX file but no engine: {missing}")
    if asked["train"]:
        given = flag.spelled_out(ctx, _fields(cogkp.TrainOptions))
        resume = {"restore": restore, "given": given, "allow_config_change": asked["allow_config_change"]}
        resume |= {"profile": asked["profile"], "report": not asked["no_report"]}
        restore = _train(report, settings, plan, resume, logs)
    if asked["deploy"]:
        _deploy(report, settings, _deploy_options(asked), restore, untrained=asked["deploy_untrained"])


def _write_template(report: Console, config: Path) -> None:
    written = cogkp.write_template(config)
    report.say(f"There was no {config}: wrote a template there. Set base_dir and data_mappings, then run this again.")
    report.finish(template=written)


def _check_deploy(*, deploy: bool, has_source: bool, precision: flag.PrecisionName | None) -> None:
    if not deploy:
        return
    if not has_source:
        complain("error: --deploy needs weights: add --restore latest|best|PATH, --train, or --deploy-untrained.")
        raise typer.Exit(MISUSED)
    if precision is flag.PrecisionName.FP16:
        complain("error: --deploy makes fp32 or bf16 files: train in fp16, then --deploy --restore latest without it.")
        raise typer.Exit(MISUSED)


def _confirm(report: Console, config: Path) -> None:
    report.say(f"{config} is a valid config. Add --preview-data, --dry-run, --train or --deploy to use it.")
    report.finish(valid=True)


def _preview(report: Console, settings: KeypointConfig, plan: TrainOptions, directory: Path) -> None:
    from cogkp_cli.window import show

    batches = cogkp.preview_data(settings, batch_size=plan.batch_size, num_workers=plan.num_workers)
    report.add(preview=show(batches, directory, report.say))


def _dry_run(report: Console, settings: KeypointConfig, plan: TrainOptions, logs: Path | None) -> None:
    result = cogkp.dry_run(settings, plan, log_dir=logs)
    report.say(f"dry run: loss {result.loss:.4g}, {result.parameters:,} parameters, {result.seconds:.1f} s")
    report.add(dry_run={"loss": result.loss, "parts": result.parts, "parameters": result.parameters})


def _train(
    report: Console,
    settings: KeypointConfig,
    plan: TrainOptions,
    resume: dict[str, Any],
    logs: Path | None,
) -> str:
    """Train; return the checkpoint for a deployment that follows, or leave when the user stopped it."""
    from cogkp_cli.progress import shown_progress

    with shown_progress() as progress:
        result = cogkp.train(settings, plan, log_dir=logs, progress=progress, **resume)
    if result.stopped:
        report.say(result.stopped)
    report.say(f"checkpoint: {result.checkpoint}" + (f"\nbest: {result.best}" if result.best else ""))
    if result.report:
        report.say(f"report: {result.report}")
    report.add(
        train={
            "run_dir": result.run_dir,
            "checkpoint": result.checkpoint,
            "best": result.best,
            "mirror": result.mirror,
            "report": result.report,
            "epochs": result.epochs,
            "interrupted": result.interrupted,
            "stopped": result.stopped,
            "seconds": result.seconds,
            "scalars": result.scalars,
        }
    )
    if result.interrupted:
        report.say("interrupted: the checkpoint is complete; --train --restore latest goes on from it.")
        report.finish()
        raise typer.Exit(INTERRUPTED)
    return str(result.checkpoint)


def _deploy(
    report: Console, settings: KeypointConfig, plan: DeployOptions, restore: str | None, *, untrained: bool
) -> None:
    result = cogkp.deploy(settings, plan, restore=restore, untrained=untrained)
    report.say(f"onnx: {result.onnx}\nmanifest: {result.manifest}\nengine: {result.engine or 'none'}")
    report.add(
        deploy={
            "onnx": result.onnx,
            "manifest": result.manifest,
            "engine": result.engine,
            "parity": result.parity,
            "precision": result.precision,
        }
    )


def _fields(options: type[TrainOptions]) -> frozenset[str]:
    import attrs

    return frozenset(attrs.fields_dict(options))


def _train_options(params: dict[str, Any]) -> TrainOptions:
    """Collect the parameters that bear the names of training options."""
    chosen = {name: params[name] for name in _fields(cogkp.TrainOptions) & params.keys()}
    return cogkp.TrainOptions(**{**chosen, "precision": flag.word(params["precision"])})


def _deploy_options(params: dict[str, Any]) -> DeployOptions:
    return cogkp.DeployOptions(
        path=params["deploy_path"],
        batch_size=params["deploy_batch_size"],
        precision=flag.word(params["precision"]),
        engine=not params["no_engine"],
        builder=params["engine_builder"].value,
    )
