"""Bins of logits: fine near 0, wider outwards, the same for every batch."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from fairlightning.exceptions import ArgumentError

_NEAR = 0.25  # logits up to which bins have one width; a power of two
_OCTAVES = 7  # how often it doubles from there: the last finite edge is 0.25·2⁷ − 0.25 = 31.75


def num_bins(resolution: int) -> int:
    """Number `B` of bins at a resolution; see `bin_edges`."""
    return 2 * _OCTAVES * resolution


def resolution_of(histogram: Tensor) -> int:
    """Resolution of a `(..., B)` histogram; see `bin_edges`."""
    return histogram.shape[-1] // (2 * _OCTAVES)


def logit_bins(logits: Tensor, resolution: int = 64) -> Tensor:
    """Bin of each logit, in the order of the logits.

    The bin is the leading bits of the float32 number |logit| + 1/4, so that the same logit falls
    into the same bin whatever batch it comes in, in a few passes over the rows.

    Args:
        logits: `(N,)` floating-point, none NaN.
        resolution: See `bin_edges`.

    Returns:
        `(N,)` int32 in `[0, 14·resolution)`, freshly allocated.
    """
    logits = logits.float() + 0.0  # makes 0 of −0
    shift = 23 - (resolution.bit_length() - 1)
    first = _bits(_NEAR) >> shift
    distance = (logits.abs().add_(_NEAR).view(torch.int32) >> shift).sub_(first)
    distance.clamp_(max=_OCTAVES * resolution - 1)
    # A negative number's sign bit, spread over all bits, turns bin k into −1 − k.
    signed = distance.bitwise_xor_(logits.view(torch.int32) >> 31)
    return signed.add_(_OCTAVES * resolution)


def bin_edges(resolution: int = 64) -> Tensor:
    """Edges of the bins, as logits.

    Bins are `0.25 / resolution` wide up to |logit| = 0.25, twice that up to 0.75, four times up to
    1.75, and so on: about 1/resolution of |logit| + 1/4. The outermost hold all beyond ±31.5 or so,
    where scores are within 2·10⁻¹⁴ of 0 and 1.

    Args:
        resolution: Bins to each doubling, a power of two.

    Returns:
        `(B + 1,)` float64 with `B = 14·resolution`, from −∞ to ∞.
    """
    half = _OCTAVES * resolution
    shift = 23 - (resolution.bit_length() - 1)
    bits = (torch.arange(half, dtype=torch.int32) << shift) + _bits(_NEAR)
    positive = torch.cat([bits.view(torch.float32).double() - _NEAR, torch.tensor([inf]).double()])
    return torch.cat([-positive[1:].flip(0), positive])


def edges_of(histogram: Tensor) -> Tensor:
    """Edges of the bins of a `(..., B)` histogram, `(B + 1,)` logits; see `bin_edges`."""
    return bin_edges(resolution_of(histogram)).to(histogram.device)


def check_resolution(resolution: int) -> int:
    """Return the resolution after checking that it is a power of two from 1 to 4,096.

    Raises:
        ArgumentError: If it is not.
    """
    if not 1 <= resolution <= 4096 or resolution & (resolution - 1):
        raise ArgumentError.of(
            "resolution",
            found=resolution,
            expected="a power of two from 1 to 4096",
            mend="pass 64, or more bins for a smaller binning error",
        )
    return resolution


def _bits(value: float) -> int:
    return int(torch.tensor(value, dtype=torch.float32).view(torch.int32))
