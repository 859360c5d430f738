# SPDX-License-Identifier: Apache-2.0
"""Versions of the packages that a golden was made with."""
import importlib.metadata


def used(*names):
    names = names or ("torch", "transformers", "safetensors", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
