"""``s6 cog compare``: two evaluations side by side."""

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console


def compare(
    first: flag.FirstRun,
    second: flag.SecondRun,
    output: flag.ComparisonPage = None,
    checkpoints: flag.CheckpointRoot = flag.CHECKPOINTS,
    as_json: flag.Json = False,
) -> None:
    """Compare two evaluations: metrics, whether their difference is significant, and what else was not the same."""
    report = Console(as_json)
    found = cogkp.compare(first, second, output=output, checkpoint_root=checkpoints)
    report.say(found.text)
    report.wrote(found.html_path)
    report.finish(**found.report, page=found.html_path)
