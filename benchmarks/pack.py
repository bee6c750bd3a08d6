"""How long `--packing` takes to put rows together, and how full the packs are: rows of log-normal length, as many as are named.

python benchmarks/pack.py [--rows 1000000 5000000] [--limits 1024 32768]
"""

from __future__ import annotations

import argparse
import time

import numpy

from autotrain_llm.data.tokenize.pack import pack


def measure(rows: int, limit: int) -> str:
    """One line about packs of so many rows."""
    lengths = numpy.random.default_rng(0).lognormal(5, 1, rows).astype(numpy.int64).clip(1, limit)
    began = time.process_time()
    packs = pack(lengths, limit)
    seconds = time.process_time() - began
    full = int(lengths.sum()) / len(packs) / limit
    return f"{rows:,} rows (median {int(numpy.median(lengths))}) into {len(packs):,} packs of {limit:,}: {seconds:.2f} s, {full:.3%} full"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--limits", type=int, nargs="+", default=[1024, 32768])
    options = parser.parse_args()
    for limit in options.limits:
        for rows in options.rows:
            print(measure(rows, limit), flush=True)


if __name__ == "__main__":
    main()
