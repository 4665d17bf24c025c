"""Train SLEAP-NN and predict with it, for benchmarks.bench_accuracy, in an environment of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sleap_io as sio
import torch

from benchmarks.peers.exchange import Frame, read_frames
from benchmarks.peers.holding import Order, order
from benchmarks.peers.lightning_watch import watch

RUN = "run"
LOWEST = -1e9  # below all peaks, so that every point is predicted


def write_labels(path: Path, points: Sequence[str], frames: Sequence[Frame]) -> str:
    """Write frames as SLEAP keeps them: one animal in each image of a list."""
    skeleton = sio.Skeleton(nodes=[sio.Node(name) for name in points])
    video = sio.Video.from_filename([str(frame.image) for frame in frames])
    labelled = [
        sio.LabeledFrame(
            video=video, frame_idx=number, instances=[sio.Instance.from_numpy(frame.uv, skeleton=skeleton)]
        )
        for number, frame in enumerate(frames)
    ]
    sio.Labels(labelled).save(str(path))
    return str(path)


def learn(todo: Order) -> None:
    """Train until done or killed; what is not named here is the default of their ``train``."""
    from sleap_nn.train import train

    frames, settings = read_frames(todo.frames), todo.settings
    todo.home.mkdir(parents=True, exist_ok=True)
    watch(todo.home, "image", settings)
    train(
        train_labels_path=[write_labels(todo.home / "train.slp", frames.points, frames.train)],
        val_labels_path=[write_labels(todo.home / "held-out.slp", frames.points, frames.held_out)],
        ensure_grayscale=True,
        scale=settings["scale"],
        geometry_aug=["rotation", "scale"],
        backbone_config={"unet": {"in_channels": 1, **settings["unet"]}},
        head_configs={"single_instance": {"confmaps": settings["confmaps"]}},
        batch_size=settings["batch"],
        learning_rate=settings["rate"],
        lr_scheduler="reduce_lr_on_plateau",
        max_epochs=todo.epochs,
        min_train_steps_per_epoch=1,  # theirs, 200, would leave few epochs to lower the rate by
        trainer_accelerator="cpu",
        trainer_num_devices=1,
        enable_progress_bar=False,
        save_ckpt=True,
        ckpt_dir=str(todo.home),
        run_name=RUN,
    )


def predict(todo: Order) -> None:
    """Predict the held-out frames with their own predictor: best guesses, then what it would tell by default."""
    from sleap_nn.inference import predict as their_predict

    frames = read_frames(todo.frames)
    folder = todo.output.parent / "sleap-nn-model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for config in (todo.home / RUN).glob("*.yaml"):
        shutil.copyfile(config, folder / config.name)
    shutil.copyfile(todo.checkpoint, folder / "best.ckpt")
    source = write_labels(todo.output.parent / "held-out.slp", frames.points, frames.held_out)
    for threshold, output in ((LOWEST, todo.output), (None, todo.output.with_suffix(".told.npy"))):
        found = their_predict(source, model_paths=[str(folder)], device="cpu", peak_threshold=threshold)
        uv = np.full((len(frames.held_out), len(frames.points), 2), np.nan)
        for labelled in found:
            for animal in labelled.instances:
                uv[labelled.frame_idx] = animal.numpy()[:, :2]
        np.save(output, uv)


if __name__ == "__main__":
    asked = order()
    torch.set_num_threads(1)
    {"train": learn, "predict": predict}[asked.verb](asked)
