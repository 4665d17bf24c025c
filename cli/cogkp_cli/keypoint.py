"""``s6 cog keypoint``: preview, dry run, train and deploy, always in this order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import cogkp
from cogkp import cli_api
from cogkp_cli import options as flag
from cogkp_cli.console import Console, complain
from cogkp_cli.failures import MISUSED, stop_code

if TYPE_CHECKING:
    from cogkp import ExportResult, KeypointConfig, TrainOptions, TrainResult


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
    onnx_exporter: flag.OnnxExporter = flag.ExporterName.LEGACY,
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
    import attrs

    launch = cli_api.launched()
    report = Console(as_json, silent=not launch.first)
    if launch.ranks == 1 and not config.exists():
        _write_template(report, config)
        return
    _check_deploy(deploy=deploy, has_source=train or deploy_untrained or restore is not None, precision=precision)
    if deploy:
        cli_api.require_exporter(onnx_exporter.value)  # before a training whose export would fail
    with cli_api.joined() if launch.ranks > 1 else nullcontext():
        settings = cogkp.load_config(config)
        flag.check_family(settings, cogkp.KeypointConfig, config, ".json")
        if not (preview_data or dry_run or train or deploy):
            report.say(f"{config} is a valid config. Add --preview-data, --dry-run, --train or --deploy to use it.")
            report.finish(valid=True)
            return
        plan = cogkp.TrainOptions(
            epochs=epochs,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=learning_rate,
            clip_norm=clip_norm,
            ema_decay=ema_decay,
            encoder_weights=encoder_weights,
            precision=flag.word(precision),
            compile=compile,
            patience=patience,
            overfit_one_batch=overfit_one_batch,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            log_interval=log_interval,
            verbose_log=verbose_log,
            checkpoint_interval=checkpoint_interval,
            keep_last=keep_last,
            seed=seed,
        )
        model = cogkp.ExportOptions(
            path=deploy_path,
            batch_size=deploy_batch_size,
            precision=flag.word(precision) if deploy else None,
            engine=not no_engine,
            builder=engine_builder.value,
        )
        logs = None if no_tb else log_dir
        # Of several processes all train, and the first one does the rest.
        if preview_data and launch.first:
            _preview(report, settings, plan, preview_dir)
        if dry_run and launch.first:
            if restore is not None:
                complain("warning: a dry run takes fresh weights, whatever --restore says")
            _dry_run(report, settings, plan, logs)
        if train and deploy and launch.first and (missing := cli_api.missing_builder(model)):
            complain(f"warning: after the training there will be an ONNX file but no engine: {missing}")
        if train:
            run = partial(cogkp.train, restore=restore, allow_config_change=allow_config_change, profile=profile)
            given = flag.spelled_out(ctx, frozenset(attrs.fields_dict(cogkp.TrainOptions)))
            restore = _train(report, partial(run, settings, plan, given=given, log_dir=logs, report=not no_report))
        if deploy and launch.first:
            export = partial(cogkp.export, untrained=deploy_untrained, exporter=onnx_exporter.value)
            _deploy(report, partial(export, settings, model, checkpoint=restore))
    report.finish()


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


def _preview(report: Console, settings: KeypointConfig, plan: TrainOptions, directory: Path) -> None:
    from cogkp_cli.window import show

    batches = cogkp.preview_data(settings, batch_size=plan.batch_size, num_workers=plan.num_workers)
    report.add(preview=show(batches, directory, report.say))


def _dry_run(report: Console, settings: KeypointConfig, plan: TrainOptions, logs: Path | None) -> None:
    result = cogkp.dry_run(settings, plan, log_dir=logs)
    report.say(f"dry run: loss {result.loss:.4g}, {result.parameters:,} parameters, {result.seconds:.1f} s")
    report.add(dry_run={"loss": result.loss, "parts": result.parts, "parameters": result.parameters})


def _train(report: Console, training: Callable[..., TrainResult]) -> str:
    """Train; return the checkpoint for a deployment that follows, or leave when the user stopped it."""
    from cogkp_cli.progress import shown_progress

    with shown_progress() as progress:
        result = training(progress=progress)
    if result.stopped:
        report.say(result.stopped)
    for name, path in (("checkpoint", result.checkpoint), ("best", result.best), ("report", result.report)):
        if path:
            report.say(f"{name}: {path}")
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
        raise typer.Exit(stop_code(result.signal))
    return str(result.checkpoint)


def _deploy(report: Console, export: Callable[[], ExportResult]) -> None:
    result = export()
    report.say(f"onnx: {result.onnx}", f"manifest: {result.manifest}", f"engine: {result.engine or 'none'}")
    report.add(
        deploy={
            "onnx": result.onnx,
            "manifest": result.manifest,
            "engine": result.engine,
            "parity": result.parity,
            "precision": result.precision,
        }
    )
