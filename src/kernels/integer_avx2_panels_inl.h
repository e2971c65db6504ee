// Part of integer_avx2_inl.h: products with many rows of x.
//
// Bound by arithmetic. Weights are unpacked into panels of 16 rows: step by step, 4 bytes of each
// row, which are four codes or two 16-bit codes; a register holds a step of 8 rows, and four bytes
// of x are broadcast. The four partial sums of each output rest in scratch, so that columns are
// taken in blocks whose panel fits the first-level cache.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/integer_avx2_codes_inl.h"

namespace QX_INTEGER_NAMESPACE {
namespace {

constexpr int kPanel = 16;
// Rows of x in registers at once. dot() takes four cycles or more, so that it takes eight sums and
// more to keep two units busy; vpaddd and vpaddw take one.
constexpr int kMicro = kHasDot ? 6 : 4;
constexpr int64_t kPanelBytes = 16384;  // codes of a panel's block of columns
constexpr int64_t kBlockRows = 256;     // rows of x for which a panel is used
constexpr int64_t kBlockPanels = 8;     // panels for which a block of x is used

struct Panel {
  std::uint8_t* codes;     // [steps][kPanel][4]
  float *scales, *biases;  // [groups][kPanel]
  int64_t groups;
  int64_t first_group;
  int group;
  bool words;
};

// 16 columns of 8 rows from four registers, each of rows i and i + 4.
inline void store_steps(const __m256i (&u)[4], bool words, std::uint8_t* out) {
  const __m256i a = _mm256_unpacklo_epi32(u[0], u[1]), b = _mm256_unpackhi_epi32(u[0], u[1]);
  const __m256i c = _mm256_unpacklo_epi32(u[2], u[3]), d = _mm256_unpackhi_epi32(u[2], u[3]);
  const __m256i steps[4] = {_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c),
                            _mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d)};
  constexpr int kStep = 4 * kPanel;
  if (!words) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) store_32(out + i * kStep, steps[i]);
    return;
  }
  const __m256i first =
      _mm256_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1,  //
                       0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
  const __m256i mask =
      _mm256_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1,  //
                       2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    store_32(out + 2 * i * kStep, _mm256_shuffle_epi8(steps[i], first));
    store_32(out + (2 * i + 1) * kStep, _mm256_shuffle_epi8(steps[i], mask));
  }
}

// out [groups][kPanel]: the scales or biases of the panel's groups; with up to three groups more.
inline void unpack_scales(ScaleKind kind, const std::byte* data, int64_t n, int valid,
                          int64_t groups, const Panel& panel, float* out) {
  for (int half = 0; half < 2; ++half) {
    int64_t first[8];
    for (int i = 0; i < 8; ++i) {
      first[i] = (n + min_of(8 * half + i, valid - 1)) * groups + panel.first_group;
    }
    for (int64_t g = 0; g < panel.groups; g += 4) {
      const int count = static_cast<int>(min_of(4, panel.groups - g));
      __m256 v[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        v[i] = scales_of_pair(kind, data, first[i] + g, first[i + 4] + g, count);
      }
      const __m256 a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
      const __m256 c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
      float* to = out + g * kPanel + 8 * half;
      _mm256_storeu_ps(to, _mm256_shuffle_ps(a, c, 0x44));
      _mm256_storeu_ps(to + kPanel, _mm256_shuffle_ps(a, c, 0xEE));
      _mm256_storeu_ps(to + 2 * kPanel, _mm256_shuffle_ps(b, d, 0x44));
      _mm256_storeu_ps(to + 3 * kPanel, _mm256_shuffle_ps(b, d, 0xEE));
    }
  }
}

// Unpacks columns [k, k + cols) of the valid rows from n on; further rows repeat the last.
template <int kBits>
void unpack_panel(const CodeRows& rows, const WeightRows& w, int64_t n, int valid, int64_t k,
                  int64_t cols, Panel& panel) {
  const int64_t groups = w.cols / w.group;
  panel.first_group = k / w.group;
  panel.groups = cols / w.group;
  for (int half = 0; half < 2; ++half) {
    const std::byte* p[8];
    for (int i = 0; i < 8; ++i) {
      p[i] = rows.row(n + min_of(8 * half + i, valid - 1)) + k / 8 * kBits;
    }
    std::uint8_t* out = panel.codes + 32 * half;
    const int64_t step_of_16 = (panel.words ? 8 : 4) * 4 * kPanel;
    for (int64_t c = 0; c < cols; c += 32, out += 2 * step_of_16) {
      __m256i first[4], second[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        __m256i u[2];
        codes_of_pair<kBits>(p[i] + c / 8 * kBits, p[i + 4] + c / 8 * kBits, u);
        first[i] = u[0];
        second[i] = u[1];
      }
      store_steps(first, panel.words, out);
      store_steps(second, panel.words, out + step_of_16);
    }
  }
  unpack_scales(w.scale_kind, w.scales, n, valid, groups, panel, panel.scales);
  unpack_scales(w.scale_kind, w.biases, n, valid, groups, panel, panel.biases);
}

// kM rows of activations from the panel's first column on.
struct MicroX {
  const std::int8_t* codes;  // bytes of x, or its 16-bit values
  int64_t row_bytes, plane_bytes;
  int planes;
  const float *scales, *sums;  // of the panel's first group
  int64_t groups_stride;
};

// total += codes times x over steps steps of 4 bytes. kRunLength: how many products may be added in
// 16 bits; 0 for 16-bit values.
template <int kRunLength, int kM>
inline void add_products(const std::int8_t* x, int64_t row_bytes, const std::uint8_t* codes,
                         int steps, __m256i (&total)[2 * kM]) {
  constexpr int kStep = 4 * kPanel;
  if constexpr (kRunLength == 0 || kHasDot) {
#pragma GCC unroll 4
    for (int s = 0; s < steps; ++s) {
      const __m256i c0 = load_32(codes + s * kStep), c1 = load_32(codes + s * kStep + 32);
#pragma GCC unroll 6
      for (int m = 0; m < kM; ++m) {
        const __m256i a = splat_4(x + m * row_bytes + 4 * s);
        if constexpr (kRunLength == 0) {
          total[2 * m] = _mm256_add_epi32(total[2 * m], _mm256_madd_epi16(c0, a));
          total[2 * m + 1] = _mm256_add_epi32(total[2 * m + 1], _mm256_madd_epi16(c1, a));
        } else {
          total[2 * m] = dot(total[2 * m], c0, a);
          total[2 * m + 1] = dot(total[2 * m + 1], c1, a);
        }
        settle(total[2 * m]);
        settle(total[2 * m + 1]);
      }
    }
  } else {
    for (int begin = 0; begin < steps; begin += kRunLength) {
      __m256i sum[2 * kM];
#pragma GCC unroll 8
      for (int s = begin; s < begin + kRunLength; ++s) {
        const __m256i c0 = load_32(codes + s * kStep), c1 = load_32(codes + s * kStep + 32);
#pragma GCC unroll 6
        for (int m = 0; m < kM; ++m) {
          const __m256i a = splat_4(x + m * row_bytes + 4 * s);
          const __m256i p0 = _mm256_maddubs_epi16(c0, a), p1 = _mm256_maddubs_epi16(c1, a);
          sum[2 * m] = s == begin ? p0 : _mm256_add_epi16(sum[2 * m], p0);
          sum[2 * m + 1] = s == begin ? p1 : _mm256_add_epi16(sum[2 * m + 1], p1);
          settle(sum[2 * m]);
          settle(sum[2 * m + 1]);
        }
      }
#pragma GCC unroll 12
      for (int i = 0; i < 2 * kM; ++i) {
        total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(sum[i], _mm256_set1_epi16(1)));
        settle(total[i]);
      }
    }
  }
}

// Partial sums of an output: four, and q of the elements apart.
constexpr int kPartials = 5;

// partial [kM][kPartials][kPanel] += the panel's groups.
template <int kRunLength, int kM>
__attribute__((noinline)) void micro(const Panel& panel, const MicroX& x, float* partial) {
  const int steps = panel.group / (kRunLength == 0 ? 2 : 4);
  const int64_t group_bytes = static_cast<int64_t>(steps) * 4;  // of a row of x
  for (int64_t g = 0; g < panel.groups; ++g) {
    __m256i total[2 * kM];
#pragma GCC unroll 12
    for (int i = 0; i < 2 * kM; ++i) total[i] = _mm256_setzero_si256();
    const std::uint8_t* codes = panel.codes + g * group_bytes * kPanel;
    add_products<kRunLength, kM>(x.codes + g * group_bytes, x.row_bytes, codes, steps, total);
    if (kRunLength != 0 && x.planes == 2) {
#pragma GCC unroll 12
      for (int i = 0; i < 2 * kM; ++i) total[i] = _mm256_slli_epi32(total[i], 8);
      add_products<kRunLength, kM>(x.codes + x.plane_bytes + g * group_bytes, x.row_bytes, codes,
                                   steps, total);
    }
    float* p = partial + (panel.first_group + g) % 4 * kPanel;
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256 scale = _mm256_loadu_ps(panel.scales + g * kPanel + 8 * v);
      const __m256 bias = _mm256_loadu_ps(panel.biases + g * kPanel + 8 * v);
#pragma GCC unroll 6
      for (int m = 0; m < kM; ++m) {
        const __m256 d = _mm256_broadcast_ss(x.scales + m * x.groups_stride + g);
        const __m256 a = _mm256_broadcast_ss(x.sums + m * x.groups_stride + g);
        const __m256 t =
            _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total[2 * m + v]), _mm256_mul_ps(bias, a));
        float* to = p + m * kPartials * kPanel + 8 * v;
        _mm256_storeu_ps(to, _mm256_fmadd_ps(d, t, _mm256_loadu_ps(to)));
      }
    }
  }
}

// q [kPanel] of the row of x whose elements apart are [e, end), over the panel's groups.
inline void multiply_apart(const ApartElement* e, const ApartElement* end, const Panel& panel,
                           float* q) {
  const int64_t first = panel.first_group * panel.group;
  const int64_t last = first + panel.groups * panel.group;
  const int step = panel.words ? 2 : 4;  // codes
  const __m256i mask = _mm256_set1_epi32(panel.words ? 0xFFFF : 0xFF);
  while (e != end && e->column < first) ++e;
  for (; e != end && e->column < last; ++e) {
    const int64_t k = e->column - first, g = k / panel.group;
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(32 / step * (k % step)));
    const __m256 x = _mm256_set1_ps(e->value);
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m256i codes = load_32(panel.codes + k / step * 4 * kPanel + 32 * v);
      const __m256i code = _mm256_and_si256(_mm256_srl_epi32(codes, shift), mask);
      const __m256 weight = _mm256_fmadd_ps(_mm256_loadu_ps(panel.scales + g * kPanel + 8 * v),
                                            _mm256_cvtepi32_ps(code),
                                            _mm256_loadu_ps(panel.biases + g * kPanel + 8 * v));
      _mm256_storeu_ps(q + 8 * v, _mm256_fmadd_ps(x, weight, _mm256_loadu_ps(q + 8 * v)));
    }
  }
}

template <int kRunLength, int kM = kMicro>
inline void micro_m(int64_t count, const Panel& panel, const MicroX& x, float* partial) {
  if constexpr (kM > 1) {
    if (count < kM) return micro_m<kRunLength, kM - 1>(count, panel, x, partial);
  }
  micro<kRunLength, kM>(panel, x, partial);
}

inline void write_panel(const float* partial, bool has_apart, int valid, float* out) {
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    const float* p = partial + 8 * v;
    const __m256 even = _mm256_add_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 2 * kPanel));
    const __m256 odd = _mm256_add_ps(_mm256_loadu_ps(p + kPanel), _mm256_loadu_ps(p + 3 * kPanel));
    __m256 sum = _mm256_add_ps(even, odd);
    if (has_apart) sum = _mm256_add_ps(sum, _mm256_loadu_ps(p + 4 * kPanel));
    if (valid >= 8 * v + 8) {
      _mm256_storeu_ps(out + 8 * v, sum);
    } else {
      float rest[8];
      _mm256_storeu_ps(rest, sum);
      for (int i = 8 * v; i < valid; ++i) out[i] = rest[i - 8 * v];
    }
  }
}

// Where the parts lie in scratch, which has 2^20 + 80 * (cols + 64) bytes.
struct Room {
  std::byte* last_row;     // cols + kPastEnd bytes
  std::int8_t* stream;     // kStreamRows rows of x in another form; in the place of words
  std::int16_t* words;     // kBlockRows * (columns of a block)
  float* partial;          // [kBlockPanels][kBlockRows][kPartials][kPanel]
  std::uint8_t* codes;     // kPanelBytes
  float *scales, *biases;  // a group is 32 codes of 16 bytes at least
};
constexpr int64_t kWordsBytes = kBlockRows * kPanelBytes / (2 * kPanel) * 2;
constexpr int64_t kPartialBytes = kBlockPanels * kBlockRows * kPartials * kPanel * 4;
constexpr int64_t kScalesBytes = kPanelBytes / kPanel / 32 * kPanel * 4;
static_assert(kWordsBytes + kPartialBytes + kPanelBytes + 2 * kScalesBytes <= (1 << 20));

inline Room divide(float* scratch, int64_t cols) {
  auto* at = reinterpret_cast<std::byte*>(scratch);
  Room room;
  room.codes = reinterpret_cast<std::uint8_t*>(at);
  room.scales = reinterpret_cast<float*>(at += kPanelBytes);
  room.biases = reinterpret_cast<float*>(at += kScalesBytes);
  room.partial = reinterpret_cast<float*>(at += kScalesBytes);
  at += kPartialBytes;
  room.last_row = at;
  at += (cols + kPastEnd + 63) / 64 * 64;
  room.stream = reinterpret_cast<std::int8_t*>(at);
  room.words = reinterpret_cast<std::int16_t*>(at);
  return room;
}

// Rows [m, m + count) of x, at most kBlockRows, with the weight rows [n_begin, n_end), at most
// kBlockPanels panels.
template <int kBits>
void block(const IntegerRows& x, int64_t m, int64_t count, const CodeRows& rows,
           const WeightRows& w, int64_t n_begin, int64_t n_end, float* out, int64_t out_stride,
           const Room& room) {
  Panel panel = {room.codes, room.scales, room.biases, 0, 0, w.group, false};
  panel.words = !kHasDot && (kBits == 8 || (x.planes == 2));
  const int64_t most = kPanelBytes / kPanel / (panel.words ? 2 : 1);
  for (int64_t k = 0; k < w.cols; k += most) {
    const int64_t cols = min_of(most, w.cols - k);
    if (panel.words) {
      for (int64_t i = 0; i < count; ++i) write_words(x, m + i, k, cols, room.words + i * most);
    }
    for (int64_t n = n_begin; n < n_end; n += kPanel) {
      const int valid = static_cast<int>(min_of(kPanel, n_end - n));
      unpack_panel<kBits>(rows, w, n, valid, k, cols, panel);
      for (int64_t i = 0; i < count; i += kMicro) {
        // One block of columns: the partial sums stay in the first-level cache.
        float* partial = room.partial;
        if (cols < w.cols) partial += ((n - n_begin) * kBlockRows + i * kPanel) * kPartials;
        const int64_t here = min_of(kMicro, count - i);
        if (k == 0) {
          __builtin_memset(partial, 0,
                           static_cast<std::size_t>(here) * kPartials * kPanel * sizeof(float));
        }
        const int64_t row = (m + i) * x.groups_stride + panel.first_group;
        MicroX part = {x.codes + (m + i) * x.row_bytes + k,
                       x.row_bytes,
                       (x.cols + 63) / 64 * 64,
                       x.planes,
                       x.scales + row,
                       x.sums + row,
                       x.groups_stride};
        if (panel.words) {
          part.codes = reinterpret_cast<const std::int8_t*>(room.words + i * most);
          part.row_bytes = 2 * most;
          micro_m<0>(here, panel, part, partial);
        } else {
          micro_m<kRun<kBits>>(here, panel, part, partial);
        }
        for (int64_t j = 0; j < here; ++j) {
          const std::int32_t apart = apart_count(x, m + i + j);
          float* sums = partial + j * kPartials * kPanel;
          if (apart > 0) {
            const ApartElement* first = apart_of(x, m + i + j);
            multiply_apart(first, first + apart, panel, sums + 4 * kPanel);
          }
          if (k + cols == w.cols) {
            write_panel(sums, apart > 0, valid, out + (i + j) * out_stride + (n - n_begin));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace QX_INTEGER_NAMESPACE
