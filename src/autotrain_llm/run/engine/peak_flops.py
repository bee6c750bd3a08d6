"""The peak rate of matrix products of this machine in one dtype: the denominator of MFU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import torch

# Dense bf16 operations per second from the data sheets, by words of the device's name; longer names are tried first.
BF16_FLOPS_BY_GPU = {
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A30": 165e12,
    "A40": 150e12,
    "A6000": 155e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H20": 148e12,
    "H200": 989e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
    "RTX 5090": 210e12,
}
SECONDS = 0.15
SIZE = {"cpu": 1024, "cuda": 4096}


@dataclass(frozen=True)
class Peak:
    """`rate` in operations per second, and its source."""

    rate: float
    source: str


@cache
def matmul_peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """The data sheet's dense rate for a known GPU in bf16, else one measured here, once per process."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        stated = stated_rate(name)
        if stated is not None:
            return Peak(stated, f"stated for {name}, bf16, dense")
    kind = str(dtype).removeprefix("torch.")
    return Peak(measure(device, dtype), f"measured on this {'GPU' if device.type == 'cuda' else 'processor'}, {kind}")


def stated_rate(name: str) -> float | None:
    """The table's rate for a device of this name; a laptop variant, which shares the name, is slower and not in the table."""
    words = name.replace("-", " ").split()
    for gpu in sorted(BF16_FLOPS_BY_GPU, key=len, reverse=True):
        if set(gpu.split()) <= set(words) and "Laptop" not in words:
            return BF16_FLOPS_BY_GPU[gpu]
    return None


def measure(device: torch.device, dtype: torch.dtype, seconds: float = SECONDS) -> float:
    """The fastest of several square products, in operations per second. Leaves the global random state untouched."""
    size = SIZE.get(device.type, SIZE["cpu"])
    random = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=random).to(dtype) for _ in range(2))
    out = left @ right  # a warm-up: the first product also sets up the kernels
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        _wait(device)
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
