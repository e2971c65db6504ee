// The exponential that every table computes, operation for operation:
//     t = fma(x, kLog2E, kRound);  n = t - kRound            (n: x / ln 2 rounded to an integer)
//     r = fma(n, -kLn2High, x);  r = fma(n, -kLn2Low, r)     (|r| <= ln 2 / 2, two-part ln 2)
//     q = c6; q = fma(q, r, c5) .. fma(q, r, c2)
//     y = fma(q * r, r, r) + 1;  result = y with n added to its exponent field
// with results outside [kExpLowest, kExpHighest] replaced as api.h says. n is read from the low
// bits of t. c2 .. c6: minimax polynomial for (e^r - 1 - r) / r^2 on that interval, weighted for
// relative error of e^r (0.05 * 2^-24 before rounding). Largest error of the result, measured:
// 1.0031 ulp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace qx {

constexpr float kExpLowest = -87.33654f;  // below: 0
constexpr float kExpHighest = 88.72283f;  // above: infinity
constexpr float kLog2E = 1.44269504f;
constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, ties to even
constexpr float kLn2High = 0.693145752f;  // nine trailing zero bits: n * kLn2High is exact
constexpr float kLn2Low = 1.42860677e-6f;
constexpr float kExpC2 = 0x1.fffffcp-2f;
constexpr float kExpC3 = 0x1.555492p-3f;
constexpr float kExpC4 = 0x1.5558f2p-5f;
constexpr float kExpC5 = 0x1.123a2p-7f;
constexpr float kExpC6 = 0x1.6a23dp-10f;

}  // namespace qx
