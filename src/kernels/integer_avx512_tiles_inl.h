// Part of integer_avx512.cpp: products with more rows of x than few_rows() takes, from unpacked tiles.
//
// A tile is 32 weight rows, unpacked to [K / 4][32 rows][4 bytes], so that lanes run along the weight
// rows and the inner kernel broadcasts four activations at a time. It serves every block of 8 rows
// of x. Partial sums rest in the first-level cache between groups.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/integer_avx512_codes_inl.h"

namespace qx {
namespace {

constexpr int kTileVectors = 2;  // weight rows in a tile, in vectors of 16
constexpr int kMicroRows = 8;    // rows of x in the inner kernel
constexpr std::int64_t kTileRows = 16 * kTileVectors;
// Partial sums of a block: four each, and one of the elements apart.
constexpr std::int64_t kBlockFloats = 5 * kMicroRows * kTileRows;
constexpr std::int64_t kFetchParts = 4;  // the next tile is fetched in so many parts, or more
// Up to so many blocks of x take a tile in pieces of about so many columns, which stay in the first
// cache between unpacking and use.
constexpr std::int64_t kPieceBlocks = 2, kPieceColumns = 512;
constexpr std::int64_t kScaleGroups = 16;  // whose scales are unpacked together

// --- unpacking -------------------------------------------------------------------------

// Where the rows of a tile begin. Beyond the last row stands the last one again: what is computed
// with it is not stored.
struct TileRowsAt {
  const std::byte* row[kTileRows];
  TileRowsAt(const std::byte* first, std::int64_t row_bytes, std::int64_t rows) {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      row[r] = first + (r < rows ? r : rows - 1) * row_bytes;
    }
  }
};

// Lane i of vector j and lane j of vector i change places.
inline void transpose_16x16(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  // Now quarter q of v[4 i + j] holds column 4 q + j of rows 4 i .. 4 i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);  // columns j, 8 + j
    const __m512i b = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xDD);  // columns 4 + j, 12 + j
    const __m512i c = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xDD);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xDD);
    t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

// Eight dwords of each of 16 rows to eight vectors: lane r of to[j] is dword j of row r.
inline void transpose_16x8(const __m256i (&rows)[16], __m512i (&to)[8]) {
  __m512i v[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int r = i / 4 * 8 + i % 4;
    v[i] = _mm512_inserti64x4(_mm512_castsi256_si512(rows[r]), rows[r + 4], 1);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  // The quarters of v[4 h + c] are rows 8 h .. of dword c, the same of dword 4 + c, then rows
  // 8 h + 4 .. alike.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    to[c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88);
    to[4 + c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xDD);
  }
}

// Columns that are unpacked at once.
template <int Bits>
constexpr std::int64_t kUnpackColumns = Bits == 2 ? 128 : 64;

// Codes of four columns begin at any multiple of 4 bits of a dword: where, for both dwords of a
// 64-bit lane.
template <int Bits>
struct QuadCuts {
  alignas(64) unsigned char at[8][64] = {};
  constexpr QuadCuts() {
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 64; ++i) {
        at[shift][i] = static_cast<unsigned char>(i / 4 % 2 * 32 + 4 * shift + i % 4 * Bits);
      }
    }
  }
};
template <int Bits>
constexpr QuadCuts<Bits> kQuadCuts;

// Codes of up to 4 bits: their dwords change places first, which are half of the codes' bytes or
// fewer. columns <= kUnpackColumns.
template <int Bits, bool kWhole>
inline void unpack_narrow(const std::byte* const* rows, std::int64_t offset, std::int64_t columns,
                          std::byte* to) {
  constexpr int kDwords = kUnpackColumns<Bits> * Bits / 32;
  static_assert(kDwords <= 8);
  __m256i v[16];
  if constexpr (kWhole && kDwords == 8) {
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      v[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[r] + offset));
    }
  } else {
    const auto some = static_cast<__mmask32>(first_bytes(columns * Bits / 8));
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) v[r] = _mm256_maskz_loadu_epi8(some, rows[r] + offset);
  }
  __m512i d[8];
  transpose_16x8(v, d);
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << Bits) - 1));
#pragma GCC unroll 32
  for (int q = 0; q < kUnpackColumns<Bits> / 4; ++q) {
    if (!kWhole && 4 * q >= columns) break;
    const int bit = 4 * q * Bits, j = bit / 32, shift = bit % 32;
    const bool crosses = shift + 4 * Bits > 32;
    const __m512i from =
        crosses
            ? _mm512_or_si512(_mm512_srli_epi32(d[j], static_cast<unsigned>(shift)),
                              _mm512_slli_epi32(d[(j + 1) % 8], static_cast<unsigned>(32 - shift)))
            : d[j];
    const __m512i cut = _mm512_load_si512(kQuadCuts<Bits>.at[crosses ? 0 : shift / 4]);
    const __m512i codes = _mm512_multishift_epi64_epi8(cut, from);
    _mm512_store_si512(to + q * kTileVectors * kVector, _mm512_and_si512(codes, mask));
  }
}

// Wider ones are bytes first.
template <int Bits>
inline void unpack_wide(const Unpack<Bits>& unpack, const std::byte* const* rows,
                        std::int64_t offset, std::int64_t columns, std::byte* to) {
  __m512i v[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) {
    const std::byte* from = rows[r] + offset;
    v[r] = columns == kChunk ? unpack.load(from) : unpack.load_part(from, columns);
  }
  transpose_16x16(v);
#pragma GCC unroll 16
  for (int q = 0; q < 16; ++q) {
    if (4 * q < columns) _mm512_store_si512(to + q * kTileVectors * kVector, v[q]);
  }
}

// Columns [begin, end) of a tile.
template <int Bits>
inline void unpack_codes(const TileRowsAt& at, std::int64_t begin, std::int64_t end,
                         std::byte* to) {
  const Unpack<Bits> unpack;
  constexpr std::int64_t kStep = kUnpackColumns<Bits>;
  // Rows often lie a power of two apart, so that a cache holds few lines of so many at once: 16 rows
  // use up their lines before the next 16.
  for (int block = 0; block < kTileVectors; ++block) {
    for (std::int64_t k = begin; k < end; k += kStep) {
      const std::int64_t columns = end - k < kStep ? end - k : kStep;
      std::byte* here = to + ((k - begin) / 4 * kTileVectors + block) * kVector;
      if constexpr (Bits > 4) {
        unpack_wide<Bits>(unpack, at.row + 16 * block, k / 8 * Bits, columns, here);
      } else if (columns == kStep) {
        unpack_narrow<Bits, true>(at.row + 16 * block, k / 8 * Bits, columns, here);
      } else {
        unpack_narrow<Bits, false>(at.row + 16 * block, k / 8 * Bits, columns, here);
      }
    }
  }
}

// 16 numbers as float32, the first `count` of them real.
inline __m512 load_scales(ScaleKind kind, const std::byte* p, std::int64_t index,
                          std::int64_t count) {
  const auto some = static_cast<__mmask16>(count >= 16 ? 0xFFFFu : (1u << count) - 1u);
  if (kind == ScaleKind::kF32) return _mm512_maskz_loadu_ps(some, p + 4 * index);
  const __m256i words = _mm256_maskz_loadu_epi16(some, p + 2 * index);
  return kind == ScaleKind::kBF16 ? widen_bf16(words) : _mm512_cvtph_ps(words);
}

// Scales or biases of groups [begin, end) as float32, [groups][kTileRows].
inline void unpack_scales(ScaleKind kind, const TileRowsAt& at, std::int64_t begin,
                          std::int64_t end, float* to) {
  for (std::int64_t g = begin; g < end; g += kScaleGroups) {
    const std::int64_t count = end - g < kScaleGroups ? end - g : kScaleGroups;
    for (int block = 0; block < kTileVectors; ++block) {
      const std::byte* const* rows = at.row + 16 * block;
      __m512i v[kScaleGroups];
      if (kind == ScaleKind::kBF16) {
        // Two groups to a dword.
        const auto some = static_cast<__mmask16>((1u << count) - 1u);
        __m256i words[16];
        __m512i pairs[8];
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) words[r] = _mm256_maskz_loadu_epi16(some, rows[r] + 2 * g);
        transpose_16x8(words, pairs);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
          v[2 * i] = _mm512_slli_epi32(pairs[i], 16);
          v[2 * i + 1] =
              _mm512_and_si512(pairs[i], _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
        }
      } else {
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) {
          v[r] = _mm512_castps_si512(load_scales(kind, rows[r], g, count));
        }
        transpose_16x16(v);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kScaleGroups; ++i) {
        if (i < count) _mm512_store_si512(to + (g - begin + i) * kTileRows + 16 * block, v[i]);
      }
    }
  }
}

// --- memory ----------------------------------------------------------------------------

// While a tile is multiplied the next one comes to the second-level cache, a few lines with each
// group, in memory's own order: all at once they would hold up the loads of the inner kernel.
class TileFetch {
 public:
  // The tile from row n of the weights on, in `calls` calls of some().
  TileFetch(const Job& job, std::int64_t n, std::int64_t calls) {
    const WeightRows& w = *job.w;
    const std::int64_t left = w.rows - n, rows = left < 0 ? 0 : left < kTileRows ? left : kTileRows;
    const std::int64_t scale_bytes = job.groups() * (w.scale_kind == ScaleKind::kF32 ? 4 : 2);
    const std::int64_t bytes[3] = {job.row_bytes(), scale_bytes, scale_bytes};
    const std::byte* const first[3] = {w.values, w.scales, w.biases};
    for (int i = 0; i < 3; ++i) {
      at_[i] = first[i] + n * bytes[i];
      end_[i] = at_[i] + rows * bytes[i];
      lines_[i] = (rows * bytes[i] / 64 + calls) / calls;
    }
  }
  void some() {
    for (int i = 0; i < 3; ++i) {
      for (std::int64_t line = 0; line < lines_[i] && at_[i] < end_[i]; ++line) {
        _mm_prefetch(at_[i], _MM_HINT_T1);
        at_[i] += 64;
      }
    }
  }

 private:
  const std::byte *at_[3], *end_[3];
  std::int64_t lines_[3];
};

// --- inner kernel ----------------------------------------------------------------------

// Keeps the compiler from folding a load into each of its uses.
inline __m512i in_register(__m512i v) {
#if !defined(QX_EMULATED)  // where vectors are no registers (kernels/emulated)
  __asm__("" : "+v"(v));
#endif
  return v;
}

// Rows of x, three to a base register.
template <int M>
struct XRows {
  static constexpr int kBases = (M + 2) / 3;
  const std::int8_t* base[kBases];
  std::int64_t stride;
  XRows(const std::int8_t* first, std::int64_t row_bytes) : stride(row_bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] = first + 3 * i * row_bytes;
  }
  void advance(std::int64_t bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] += bytes;
  }
  __m512i four(int m, int at) const {
    int word;
    __builtin_memcpy(&word, base[m / 3] + m % 3 * stride + at, 4);
    return in_register(_mm512_set1_epi32(word));
  }
};

constexpr int kUnrolledQuads = 4;  // a group has 8, 16 or 32

template <int M>
inline void dot_group(XRows<M> x, const std::byte* codes, int quads,
                      __m512i (&sums)[M * kTileVectors]) {
  constexpr int kBytes = kTileVectors * kVector;
  for (const std::byte* end = codes + quads * kBytes; codes != end;
       codes += kUnrolledQuads * kBytes) {
#pragma GCC unroll 4
    for (int q = 0; q < kUnrolledQuads; ++q) {
      __m512i w[kTileVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kTileVectors; ++v) {
        w[v] = in_register(_mm512_load_si512(codes + q * kBytes + v * kVector));
      }
#pragma GCC unroll 12
      for (int m = 0; m < M; ++m) {
        const __m512i a = x.four(m, 4 * q);
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
          sums[m * kTileVectors + v] = _mm512_dpbusd_epi32(sums[m * kTileVectors + v], w[v], a);
        }
      }
    }
    x.advance(4 * kUnrolledQuads);
  }
}

// Groups [begin, end) of a tile, unpacked.
struct Piece {
  const std::byte* codes;  // [columns / 4][kTileRows][4]
  const float* scales;     // [groups][kTileRows]
  const float* biases;
  std::int64_t begin, end;
};

// q of the row of x whose elements apart are [e, end), [kTileRows], over the columns of a piece.
inline void multiply_apart(const ApartElement* e, const ApartElement* end, const Piece& piece,
                           int group, float* q) {
  const std::int64_t first = piece.begin * group, last = piece.end * group;
  while (e != end && e->column < first) ++e;
  for (; e != end && e->column < last; ++e) {
    const std::int64_t k = e->column - first, g = k / group;
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(8 * (k % 4)));
    const __m512 x = _mm512_set1_ps(e->value);
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
      const __m512i four = _mm512_load_si512(piece.codes + (k / 4 * kTileVectors + v) * kVector);
      const __m512i code = _mm512_and_si512(_mm512_srl_epi32(four, shift), _mm512_set1_epi32(0xFF));
      const __m512 weight = _mm512_fmadd_ps(_mm512_load_ps(piece.scales + g * kTileRows + 16 * v),
                                            _mm512_cvtepi32_ps(code),
                                            _mm512_load_ps(piece.biases + g * kTileRows + 16 * v));
      _mm512_store_ps(q + 16 * v, _mm512_fmadd_ps(x, weight, _mm512_load_ps(q + 16 * v)));
    }
  }
}

// Adds the products of a piece with M rows of x to four partial sums each and to q,
// [5][M][kTileRows], which the first piece sets to zero.
template <int Planes, int M>
void multiply_piece(const Job& job, const Piece& piece, std::int64_t m, float* sums_of_block,
                    TileFetch& fetch) {
  constexpr int V = kTileVectors;
  const IntegerRows& x = *job.x;
  const std::int64_t plane = plane_bytes(x.cols);
  const int quads = job.w->group / 4;
  XRows<M> rows(x.codes + m * x.row_bytes + piece.begin * job.w->group, x.row_bytes);
  const float* a = x.sums + m * x.groups_stride;
  const float* d = x.scales + m * x.groups_stride;
  const std::byte* codes = piece.codes;
  const float* scales = piece.scales;
  const float* biases = piece.biases;
  if (piece.begin == 0) {
    // In a register, or the compiler makes it a string instruction, which is slower for 4 KB.
    const __m512i zero = in_register(_mm512_setzero_si512());
    const int count = Planes == 2 && job.x->apart_counts != nullptr ? 5 : 4;
    for (int i = 0; i < count * M * V; ++i) _mm512_store_si512(sums_of_block + 16 * i, zero);
  }
  if constexpr (Planes == 2) {
    for (int i = 0; i < M; ++i) {
      const std::int32_t count = apart_count(x, m + i);
      if (count == 0) continue;
      const ApartElement* apart = apart_of(x, m + i);
      multiply_apart(apart, apart + count, piece, job.w->group,
                     sums_of_block + (4 * M + i) * kTileRows);
    }
  }
  for (std::int64_t g = piece.begin; g < piece.end; ++g) {
    fetch.some();
    __m512i sums[M * V];
#pragma GCC unroll 32
    for (int i = 0; i < M * V; ++i) sums[i] = _mm512_setzero_si512();
    dot_group<M>(rows, codes, quads, sums);
    if constexpr (Planes == 2) {
#pragma GCC unroll 32
      for (int i = 0; i < M * V; ++i) sums[i] = _mm512_slli_epi32(sums[i], 8);
      XRows<M> low = rows;
      low.advance(plane);
      dot_group<M>(low, codes, quads, sums);
    }
    rows.advance(job.w->group);
    codes += quads * V * kVector;
    __m512 scale[V], bias[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      scale[v] = _mm512_load_ps(scales + 16 * v);
      bias[v] = _mm512_load_ps(biases + 16 * v);
    }
    scales += kTileRows;
    biases += kTileRows;
    float* partial = sums_of_block + g % 4 * M * V * 16;
#pragma GCC unroll 12
    for (int i = 0; i < M; ++i) {
      const __m512 sum_x = _mm512_set1_ps(a[i * x.groups_stride + g]);
      const __m512 scale_x = _mm512_set1_ps(d[i * x.groups_stride + g]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        float* p = partial + (i * V + v) * 16;
        const __m512 t = _mm512_fmadd_ps(scale[v], _mm512_cvtepi32_ps(sums[i * V + v]),
                                         _mm512_mul_ps(bias[v], sum_x));
        _mm512_store_ps(p, _mm512_fmadd_ps(scale_x, t, _mm512_load_ps(p)));
      }
    }
  }
}

using MultiplyPiece = void (*)(const Job&, const Piece&, std::int64_t, float*, TileFetch&);

template <int Planes, int M = kMicroRows>
MultiplyPiece multiply_piece_of(std::int64_t rows) {
  if constexpr (M > 1) {
    if (rows != M) return multiply_piece_of<Planes, M - 1>(rows);
  }
  return multiply_piece<Planes, M>;
}

// Rows of x from m on, and the weight rows of a tile from n on: (p0 + p2) + (p1 + p3), and q.
inline void store_block(const Job& job, std::int64_t m, std::int64_t rows, std::int64_t n,
                        std::int64_t tile_rows, const float* partial) {
  const std::int64_t next = rows * kTileRows;
  for (std::int64_t i = 0; i < rows; ++i) {
    const bool has_apart = apart_count(*job.x, m + i) > 0;
    for (int v = 0; v < kTileVectors; ++v) {
      const std::int64_t left = tile_rows - 16 * v;
      if (left <= 0) break;
      const float* p = partial + (i * kTileVectors + v) * 16;
      const __m512 even = _mm512_add_ps(_mm512_load_ps(p), _mm512_load_ps(p + 2 * next));
      const __m512 odd = _mm512_add_ps(_mm512_load_ps(p + next), _mm512_load_ps(p + 3 * next));
      __m512 total = _mm512_add_ps(even, odd);
      if (has_apart) total = _mm512_add_ps(total, _mm512_load_ps(p + 4 * next));
      const auto some = static_cast<__mmask16>(left >= 16 ? 0xFFFFu : (1u << left) - 1u);
      float* out = job.out + (m - job.m_begin + i) * job.out_stride + (n - job.n_begin) + 16 * v;
      _mm512_mask_storeu_ps(out, some, total);
    }
  }
}

// --- tiles -----------------------------------------------------------------------------

// The rows of x in blocks: as many whole ones as there are, and what is left.
template <int Planes>
struct Blocks {
  MultiplyPiece whole = multiply_piece<Planes, kMicroRows>, last;
  std::int64_t begin, end;
  explicit Blocks(const Job& job)
      : last(multiply_piece_of<Planes>((job.m_end - job.m_begin - 1) % kMicroRows + 1)),
        begin(job.m_begin),
        end(job.m_end) {}
  std::int64_t count() const { return (end - begin + kMicroRows - 1) / kMicroRows; }
  std::int64_t first(std::int64_t b) const { return begin + b * kMicroRows; }
  std::int64_t rows(std::int64_t b) const {
    return end - first(b) < kMicroRows ? end - first(b) : kMicroRows;
  }
  void multiply(std::int64_t b, const Job& job, const Piece& piece, float* partial,
                TileFetch& fetch) const {
    (rows(b) == kMicroRows ? whole : last)(job, piece, first(b), partial, fetch);
  }
};

template <int Bits, int Planes>
void many_rows(const Job& job) {
  const WeightRows& w = *job.w;
  const Blocks<Planes> blocks(job);
  const std::int64_t groups = job.groups(), scale_bytes = w.scale_kind == ScaleKind::kF32 ? 4 : 2;
  const bool in_pieces = blocks.count() <= kPieceBlocks && w.cols >= 2 * kPieceColumns;
  const std::int64_t step = in_pieces ? kPieceColumns / w.group : groups;
  float* partial = job.scratch;
  float* scales = partial + kPieceBlocks * kBlockFloats;
  float* biases = scales + step * kTileRows;
  auto* codes = reinterpret_cast<std::byte*>(biases + step * kTileRows);
  for (std::int64_t n = job.n_begin; n < job.n_end; n += kTileRows) {
    const std::int64_t rows = job.n_end - n < kTileRows ? job.n_end - n : kTileRows;
    const std::int64_t row = groups * scale_bytes;
    const TileRowsAt codes_at(w.values + n * job.row_bytes(), job.row_bytes(), rows),
        scales_at(w.scales + n * row, row, rows), biases_at(w.biases + n * row, row, rows);
    TileFetch fetch(job, n + kTileRows, groups * blocks.count());
    for (std::int64_t g = 0; g < groups; g += step) {
      const std::int64_t end = groups - g < step ? groups : g + step;
      unpack_codes<Bits>(codes_at, g * w.group, end * w.group, codes);
      unpack_scales(w.scale_kind, scales_at, g, end, scales);
      unpack_scales(w.scale_kind, biases_at, g, end, biases);
      for (std::int64_t b = 0; b < blocks.count(); ++b) {
        float* sums = partial + (in_pieces ? b * kBlockFloats : 0);
        blocks.multiply(b, job, {codes, scales, biases, g, end}, sums, fetch);
        if (end == groups) store_block(job, blocks.first(b), blocks.rows(b), n, rows, sums);
      }
    }
  }
}

}  // namespace
}  // namespace qx
