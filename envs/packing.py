"""Images compressed for checkpoints."""

from __future__ import annotations

import zlib

import torch
from jaxtyping import UInt8
from torch import Tensor


def pack(images: UInt8[Tensor, "T N ..."]) -> UInt8[Tensor, " bytes"]:
    """Images compressed by zlib, stream by stream, as what follows in time is most alike.

    Measured on 2,048 frames of held random actions: CoinRun 15 times smaller at 108 MB/s on one core, MiniGrid 66 times
    at 290 MB/s; step by step 10 and 60 times.
    """
    raw = images.transpose(0, 1).contiguous().cpu().numpy().tobytes()
    return torch.frombuffer(bytearray(zlib.compress(raw, 3)), dtype=torch.uint8)


def unpack(packed: UInt8[Tensor, " bytes"], target: UInt8[Tensor, "T N ..."]) -> None:
    """Write packed images into ``target``."""
    if not target.numel():
        return
    raw = bytearray(zlib.decompress(torch.as_tensor(packed).cpu().numpy().tobytes()))
    streams = target.transpose(0, 1)
    streams.copy_(torch.frombuffer(raw, dtype=torch.uint8).view(streams.shape))
