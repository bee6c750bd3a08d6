"""The long description of the package; everything else about it is in setup.cfg."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "src"))

from autotrain_llm.docs.readme import for_package_index  # noqa: E402

setup(long_description=for_package_index((ROOT / "README.md").read_text(encoding="utf-8")))
