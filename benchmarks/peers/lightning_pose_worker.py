"""Train Lightning Pose and predict with it, for benchmarks.bench_accuracy, in an environment of its own."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_pose.api import Model
from lightning_pose.data import datamodules
from lightning_pose.train import train
from omegaconf import OmegaConf

from benchmarks.peers.exchange import Frames, read_frames, write_csv
from benchmarks.peers.holding import Order, order
from benchmarks.peers.lightning_watch import watch

NAME = "peer"
MILESTONES = (1 / 2, 2 / 3, 5 / 6)  # theirs: 150, 200 and 250 of 300 epochs


def config(todo: Order, frames: Frames, data: Path) -> Any:
    """Configure as their example for this very set does, without what needs CUDA or downloaded weights."""
    count, held_out, settings = len(frames.train), len(frames.held_out), todo.settings
    steps = todo.epochs * math.ceil(count / settings["batch"])
    return OmegaConf.create(
        {
            "data": {
                "image_resize_dims": {"width": settings["side"], "height": settings["side"]},
                "data_dir": str(data),
                "video_dir": str(data),
                "csv_file": "CollectedData.csv",
                "downsample_factor": 2,
                "num_keypoints": len(frames.points),
                "keypoint_names": list(frames.points),
                "mirrored_column_matches": None,
                "columns_for_singleview_pca": None,
            },
            "training": {
                "imgaug": "dlc",
                "train_batch_size": settings["batch"],
                "val_batch_size": settings["batch"],
                "test_batch_size": settings["batch"],
                "train_prob": count / (count + held_out),
                "val_prob": held_out / (count + held_out),
                "train_frames": 1,
                "num_gpus": 1,
                "num_workers": 0,
                "early_stopping": False,
                "unfreezing_step": 0,  # nothing is pretrained, so nothing is frozen: full rate after six steps
                "min_steps": steps,
                "max_steps": steps,
                "log_every_n_steps": 10,
                "check_val_every_n_epoch": 10,
                "rng_seed_data_pt": 42,
                "rng_seed_model_pt": 44,
                "optimizer": "Adam",
                "optimizer_params": {"learning_rate": settings["rate"]},
                "lr_scheduler": "multisteplr",
                "lr_scheduler_params": {
                    "multisteplr": {"milestone_steps": [round(steps * part) for part in MILESTONES], "gamma": 0.5}
                },
            },
            "model": {
                "losses_to_use": [],
                "backbone": settings["backbone"],
                "backbone_pretrained": False,
                "model_type": "heatmap",
                "heatmap_loss_type": "mse",
                "model_name": NAME,
            },
            "losses": {},
            "eval": {"predict_vids_after_training": False, "test_videos_directory": None},
            "callbacks": {"anneal_weight": {"attr_name": "total_unsupervised_importance"}},
        }
    )


def in_order(first: int, data: Sequence[Any], lengths: Sequence[int], generator: object = None) -> list[Any]:
    """Split as our table is written, training frames first, instead of at random; none are left to test."""
    parts = range(first), range(first, len(data)), range(0)
    return [torch.utils.data.Subset(data, part) for part in parts]


def learn(todo: Order) -> None:
    """Train until done or killed."""
    frames = read_frames(todo.frames)
    data = todo.home / "data"
    write_csv(data, frames)
    datamodules.random_split = partial(in_order, len(frames.train))
    watch(todo.home, "images", todo.settings)
    random.seed(0)
    np.random.seed(0)
    train(config(todo, frames, data), model_dir=todo.home / "model", skip_evaluation=True)


def predict(todo: Order) -> None:
    """Predict the held-out frames with their own predictor."""
    frames = read_frames(todo.frames)
    folder = todo.output.parent / "lightning-pose-model"
    shutil.rmtree(folder, ignore_errors=True)
    weights = folder / "tb_logs" / NAME / "version_0" / "checkpoints" / "step=1.ckpt"
    weights.parent.mkdir(parents=True)
    shutil.copyfile(todo.checkpoint, weights)
    shutil.copyfile(todo.home / "model" / "config.yaml", folder / "config.yaml")
    model = Model.from_dir(folder)
    data = todo.output.parent / "held-out"
    table = write_csv(data, Frames(frames.points, (), frames.held_out))
    found = model.predict_on_label_csv(table, data_dir=data, compute_metrics=False).predictions
    axes = found.columns.get_level_values(-1)
    u, v = (found.loc[:, axes == axis].to_numpy(float) for axis in ("x", "y"))
    np.save(todo.output, np.stack([u, v], axis=-1))


if __name__ == "__main__":
    asked = order()
    torch.set_num_threads(1)
    {"train": learn, "predict": predict}[asked.verb](asked)
