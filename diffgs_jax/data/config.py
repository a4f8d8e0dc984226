"""What the training data is and how it is read."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which views are read, and how many of them make a training sample."""

    path: str = "assets/furniture_cc0"
    """Folder of a record store: `index.json` beside `*.arrayrecord` shards."""
    resolution: int = 64
    """Height and width of the square training views, pixels; stored views are resized by area."""
    batch_size: int = 8
    """Samples in a batch, over all hosts."""
    condition_views: int = 1
    """Clean views in a sample; the first one has azimuth 0."""
    noisy_views: int = 3
    """Views that are denoised, in a sample."""
    novel_views: int = 2
    """Views that only supervise: renderings are compared with them, the network never sees them."""
    background: float = 1.0
    """Grey level in [0, 1] that transparent pixels are composited on."""
    seed: int = 0
    """Data order and choice of views are a pure function of (seed, step)."""
    cache_gigabytes: float = 1.0
    """Memory for views that were already decoded, kept as uint8 at `resolution`; 0 decodes again at every use.
    It never changes what a batch holds. 820 objects of 32 views at 64² take 0.43."""
    threads: int = 2
    """Threads that read and decode ahead of the training step."""
    prefetch: int = 4
    """Batches that are kept ready ahead of the training step."""
    max_bad_records: int = 16
    """Unreadable records that are replaced by others before the run stops."""
