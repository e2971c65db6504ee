"""Prints src/io/gguf_golden.h: one block of each GGUF block type and the values that the `gguf` package gives it.

usage: python tests/golden/make_gguf_blocks.py > src/io/gguf_golden.h      (gguf 0.19.0)
SPDX-License-Identifier: Apache-2.0
"""
import gguf
import numpy as np

TYPES = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34}

rng = np.random.default_rng(63)
print("// Blocks of each GGUF block type and their values, from the `gguf` Python package 0.19.0.")
print("// Made by tests/golden/make_gguf_blocks.py.")
print("// SPDX-License-Identifier: Apache-2.0")
print("#pragma once\n\n#include <cstdint>\n\nnamespace qx::golden {\n")
for name, size in TYPES.items():
    raw = rng.integers(0, 256, (2, size), dtype=np.uint8)
    # Two blocks: ordinary scales, and a negative scale with a subnormal minimum.
    raw[0, :2] = np.array([0.0173], np.float16).view(np.uint8)
    raw[1, :2] = np.array([-1.37], np.float16).view(np.uint8)
    if name.endswith("_1"):
        raw[0, 2:4] = np.array([-0.131], np.float16).view(np.uint8)
        raw[1, 2:4] = np.array([3e-6], np.float16).view(np.uint8)
    values = gguf.dequantize(raw, gguf.GGMLQuantizationType[name]).astype(np.float32)
    print(f"constexpr std::uint8_t k{name}[] = {{{', '.join(map(str, raw.ravel()))}}};")
    bits = ", ".join(f"0x{b:08X}" for b in values.ravel().view(np.uint32))
    print(f"constexpr std::uint32_t k{name}Values[] = {{{bits}}};\n")
print("}  // namespace qx::golden")
