"""``s6 cog import``: convert labels of other programs to a StructuredDataset."""

import cogkp
from cogkp_cli import options as flag
from cogkp_cli.console import Console


def import_dataset(
    label_format: flag.Format,
    source: flag.Source,
    destination: flag.Destination,
    validation: flag.ValidationShare = 0.1,
    seed: flag.Seed = 0,
    as_json: flag.Json = False,
) -> None:
    """Read labels of another program and write a StructuredDataset with its config."""
    from cogkp_cli.progress import shown_progress

    report = Console(as_json)
    with shown_progress() as progress:
        result = cogkp.import_dataset(
            source, destination, format=label_format, validation=validation, seed=seed, progress=progress
        )
    report.say(", ".join(f"{name}: {count}" for name, count in result.counts.items()))
    report.say(f"config: {result.config}")
    report.say(f"next: s6 cog keypoint --config {result.config} --preview-data --train")
    report.finish(train=result.train, validation=result.validation, counts=result.counts, config=result.config)
