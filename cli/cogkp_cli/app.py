"""The console script ``s6``: groups of commands, each command one call of the library."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import cogkp
from cogkp_cli import benchmark, centerpose, commands, keypoint, predict, serving
from cogkp_cli.console import complain, lost_output, steady_streams
from cogkp_cli.failures import FAILED, fault, reported, stoppable, stopped
from cogkp_cli.writing import writing

COLUMNS = 100


class _Group(TyperGroup):
    """A group that starts quickly."""

    def get_help_option(self, ctx: Any) -> Any:
        """Give --help a value when it is absent: typer would load pydantic to make one of nothing."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


class _Root(_Group):
    """Every failure below the root leaves through one door."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; failures become lines and exit codes."""
        with reported():
            return super().invoke(ctx)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cogkp {cogkp.__version__}")
        raise typer.Exit


# Plain help: drawing it with rich would cost as long again as the rest of the start.
_LOOK: dict[str, Any] = {
    "rich_markup_mode": None,
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": COLUMNS},
}

app = typer.Typer(name="s6", cls=_Root, help="Keypoint training and deployment for calibrated cameras.", **_LOOK)
cog = typer.Typer(cls=_Group, help="Train, evaluate and deploy models that find keypoints.", **_LOOK)
cameras = typer.Typer(cls=_Group, help="Look at calibration files of cameras.", **_LOOK)
poses = typer.Typer(cls=_Group, help="Poses of boxes.", **_LOOK)
app.add_typer(cog, name="cog")
cog.add_typer(cameras, name="calibration")
cog.add_typer(poses, name="centerpose")

cog.command("keypoint")(writing(keypoint.keypoint))
cog.command("evaluate")(writing(commands.evaluate))
cog.command("predict")(writing(predict.predict))
cog.command("triton")(writing(serving.triton))
cog.command("benchmark")(writing(benchmark.benchmark))
cog.command("compare")(writing(commands.compare))
cog.command("import")(commands.import_dataset)
cog.command("schema")(writing(commands.schema))
cog.command("demo")(commands.demo)
cameras.command("check")(writing(commands.check))
poses.command("import")(centerpose.import_boxes)
poses.command("render")(centerpose.render_boxes)
poses.command("validate")(writing(centerpose.validate))
poses.command("train")(writing(centerpose.train))
poses.command("evaluate")(writing(centerpose.evaluate))
poses.command("inference")(writing(centerpose.inference))
poses.command("export")(writing(centerpose.export))
poses.command("gen_trt_engine")(writing(centerpose.gen_trt_engine))


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keypoint training and deployment for calibrated cameras."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    with steady_streams(), stoppable() as came:
        code = _code(came)
        why, needed = lost_output()
        if why and needed:
            code = code or FAILED
        if why:
            complain(f"{'error' if needed else 'warning'}: standard output cannot be written: {why}")
    sys.exit(code)


def _code(came: list[KeyboardInterrupt]) -> int:
    try:
        app()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED * bool(stop.code)
    except KeyboardInterrupt as stop:  # before or after a command
        return stopped(stop)
    except Exception as error:  # the last door: whatever nobody foresaw
        return stopped(came[0]) if came else fault(error)
    return 0
