"""Maps that say just what is wanted, as sure as can be."""

import torch

from cogkp.models.centerpose import CHANNELS, CenterPoseOutputs
from cogkp.tasks.centerpose.targets import render_gaussians


def perfect_maps(picked, cells, sure=20.0):
    """(B, C, h, w) maps for targets without the axis S."""
    count = len(picked.ind)
    maps = {name: torch.zeros(count, c, cells * cells) for name, c in CHANNELS.items()}
    shape = (cells, cells)
    center = render_gaussians(picked.ind[..., None], picked.radius, picked.taught[..., None], shape)
    corner = render_gaussians(picked.hp_ind, picked.radius, picked.hp_mask, shape)
    for b, o in picked.taught.nonzero().tolist():
        for name in ("wh", "reg", "scale", "hps"):
            maps[name][b, :, picked.ind[b, o]] = getattr(picked, name)[b, o].flatten()
        for j in picked.hp_mask[b, o].nonzero().flatten().tolist():
            maps["hp_offset"][b, :, picked.hp_ind[b, o, j]] = picked.hp_offset[b, o, j]
    maps |= {"hm": 2 * sure * (center == 1) - sure, "hm_hp": 2 * sure * (corner == 1) - sure}
    return CenterPoseOutputs(**{n: m.float().reshape(count, -1, cells, cells) for n, m in maps.items()})
