"""The crops of the object-pose family as image maps for tensors."""

import torch

from cogkp.geometry import letterbox as crops
from cogkp.geometry.warp import ImageWarp


def letterbox(size_wh, side):
    return ImageWarp(torch.from_numpy(crops.letterbox(size_wh, side)))


def square_crop(*how):
    return ImageWarp(torch.from_numpy(crops.square_crop(*how)))
