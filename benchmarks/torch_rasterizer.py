"""A plain, vectorised PyTorch rasterizer for the CPU: what one writes without kernels, to be timed beside.

`scripts/bench_rasterizer.py --torch PYTHON` runs it in a process of its own, by an interpreter that has PyTorch. It
follows the same rules as `render` (docs/architecture.md): lists of (tile, Gaussian) pairs in depth order, tiles of like
length in one block, pieces of a list blended by a running product, and autograd, which computes every block again on
the way back so that memory stays bounded.
"""

import os
import sys

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

_ALPHA_MIN, _ALPHA_MAX, _LIGHT_MIN = 1 / 255, 0.99, 1e-4
_TILE, _CHUNK, _BLOCK = 8, 32, 64  # pixels a side; list entries; tiles


def project(means, rotations, scales, opacities, view, lens, side, near=0.01, dilation=0.3):
    """Returns 2D means, conics, depths, extents and which are visible; lens is (fx, fy, cx, cy) in pixels."""
    w, x, y, z = (rotations / rotations.norm(dim=-1, keepdim=True)).unbind(-1)
    turn = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    factor = torch.stack(turn, -1).view(-1, 3, 3) * scales[:, None]
    spread = factor @ factor.transpose(1, 2)
    camera = means @ view[:3, :3].T + view[:3, 3]
    depths = camera[:, 2].clamp_min(near)
    rows, centers = [], []
    for axis in range(2):
        focal, center = lens[axis], lens[2 + axis]
        slope = camera[:, axis] / depths
        centers.append(focal * slope + center)
        margin = 0.15 * side
        slope = slope.clamp(-(center + margin) / focal, (side - center + margin) / focal)
        rows.append((focal / depths)[:, None] * (view[axis, :3] - slope[:, None] * view[2, :3]))
    spread_x, spread_y = ((spread @ row[..., None])[..., 0] for row in rows)
    xx, yy = (rows[0] * spread_x).sum(-1) + dilation, (rows[1] * spread_y).sum(-1) + dilation
    xy = (rows[1] * spread_x).sum(-1)
    conics = torch.stack([yy, -xy, xx], -1) / (xx * yy - xy * xy)[:, None]
    level = 2 * torch.log((opacities / _ALPHA_MIN).clamp_min(1.0))
    extents = torch.sqrt(level[:, None] * torch.stack([xx, yy], -1)).detach()
    return torch.stack(centers, -1), conics, depths, extents, (camera[:, 2] > near) & (opacities >= _ALPHA_MIN)


@torch.no_grad()
def list_tiles(means, depths, extents, visible, side):
    """Returns ids in the order (tile, depth), and where each tile's list starts and how long it is."""
    columns = -(-side // _TILE)
    low = torch.ceil((means - extents - 0.5).clamp(0, side)).long()
    high = torch.floor((means + extents - 0.5).clamp(-1, side - 1)).long()
    ids = torch.nonzero(visible & (low <= high).all(-1))[:, 0]
    ids = ids[torch.argsort(depths[ids], stable=True)]
    first, size = low[ids] // _TILE, high[ids] // _TILE - low[ids] // _TILE + 1
    touched = size[:, 0] * size[:, 1]
    rank = torch.repeat_interleave(torch.arange(len(ids)), touched)
    within = torch.arange(len(rank)) - (touched.cumsum(0) - touched)[rank]
    tile = (first[rank, 1] + within // size[rank, 0]) * columns + first[rank, 0] + within % size[rank, 0]
    order = torch.argsort(tile * len(ids) + rank)
    counts = torch.bincount(tile, minlength=columns * columns)
    return ids[rank[order]], counts.cumsum(0) - counts, counts


def render(means, rotations, scales, opacities, colors, view, lens, side):
    """Returns an image [side, side, 3] on white."""
    centers, conics, depths, extents, visible = project(means, rotations, scales, opacities, view, lens, side)
    ids, starts, counts = list_tiles(centers, depths, extents, visible, side)
    table = torch.cat([centers, conics, opacities[:, None], colors], -1)
    columns, pixel = -(-side // _TILE), torch.arange(_TILE * _TILE)

    def blend(tiles, table):
        x = (tiles % columns * _TILE)[:, None] + pixel % _TILE + 0.5
        y = (tiles // columns * _TILE)[:, None] + pixel // _TILE + 0.5
        light, total = torch.ones(x.shape), torch.zeros(*x.shape, 3)
        live = torch.ones(x.shape, dtype=torch.bool)
        for begin in range(0, int(counts[tiles].max()), _CHUNK):
            entry = begin + torch.arange(_CHUNK)
            row = table[ids[(starts[tiles][:, None] + entry).clamp_max(len(ids) - 1)]]
            dx, dy = x[:, None] - row[..., 0, None], y[:, None] - row[..., 1, None]
            power = 0.5 * (row[..., 2, None] * dx * dx + row[..., 4, None] * dy * dy) + row[..., 3, None] * dx * dy
            alpha = (row[..., 5, None] * torch.exp(-power)).clamp_max(_ALPHA_MAX)
            drawn = (entry[None] < counts[tiles][:, None])[..., None] & (power >= 0) & (alpha >= _ALPHA_MIN)
            alpha = torch.where(drawn, alpha, 0.0)
            after = torch.cumprod(1 - alpha, 1) * light[:, None]
            lit = (after >= _LIGHT_MIN) & live[:, None]
            before = torch.cat([light[:, None], after[:, :-1]], 1)
            weight = torch.where(lit, before * alpha, 0.0)
            total = total + torch.einsum("bkp,bkc->bpc", weight, row[..., 6:])
            light = torch.minimum(light, torch.where(lit, after, torch.inf).amin(1))
            live = live & lit[:, -1]
            if not bool(live.any()):
                break
        return total + light[..., None]

    order = torch.argsort(counts, descending=True)
    blocks = [
        checkpoint(blend, tiles, table, use_reentrant=False) if torch.is_grad_enabled() else blend(tiles, table)
        for tiles in order.split(_BLOCK)
    ]
    image = torch.zeros(len(order), _TILE * _TILE, 3).index_copy(0, order, torch.cat(blocks))
    image = image.view(columns, columns, _TILE, _TILE, 3).permute(0, 2, 1, 3, 4)
    return image.reshape(columns * _TILE, columns * _TILE, 3)[:side, :side]


def main(folder: str) -> None:
    """Reads the problem and does what each line of its input asks, `forward` or `gradient`; says `done` after each."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(os.path.join(folder, "problem.npz")) as stored:
        given = {name: torch.tensor(stored[name]) for name in stored.files}
    leaves = [given[name] for name in ("means", "rotations", "scales", "opacities", "colors")]
    scenes, views, side = given["cotangent"].shape[:3]

    def images():
        for scene in range(scenes):
            for view in range(views):
                camera = given["views"][scene, view], given["lenses"][scene, view]
                yield scene, view, render(*(leaf[scene] for leaf in leaves), *camera, side)

    print("done", flush=True)
    for line in sys.stdin:
        if line.strip() == "forward":
            with torch.no_grad():
                found = torch.stack([image for *_, image in images()]).view(scenes, views, side, side, 3)
            np.save(os.path.join(folder, "image.npy"), found.numpy())
        else:
            for leaf in leaves:
                leaf.requires_grad_(True).grad = None
            sum((image * given["cotangent"][scene, view]).sum() for scene, view, image in images()).backward()
            for leaf in leaves:
                leaf.requires_grad_(False)
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
