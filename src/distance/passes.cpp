// SPDX-License-Identifier: Apache-2.0
#include "distance/passes.h"

#include <algorithm>

#include "base/error.h"
#include "base/interrupt.h"

namespace qx {
namespace {

// A piece this small is not worth cutting off a window just to fill a pass.
constexpr std::int64_t kSmallestPiece = 32;

// The targets that the piece's reads predict: read r predicts target r + 1.
std::int64_t first_target(const Window& window, const PassPiece& piece) {
  return std::max(piece.begin + 1, window.first_target);
}

}  // namespace

std::vector<TextPass> plan_passes(std::span<const Window> windows, std::int64_t pass_tokens) {
  QX_CHECK(pass_tokens > 0);
  std::vector<TextPass> passes;
  TextPass pass;
  const auto close = [&] {
    if (!pass.pieces.empty()) passes.push_back(std::move(pass));
    pass = {};
  };
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const Window& window = windows[w];
    const std::int64_t end = window.end - 1;
    for (std::int64_t begin = window.begin; begin < end;) {
      const std::int64_t take = std::min(end - begin, pass_tokens - pass.reads);
      if (pass.reads > 0 && take < end - begin && take < kSmallestPiece) {
        close();
        continue;
      }
      const PassPiece piece{w, begin, begin + take};
      pass.pieces.push_back(piece);
      pass.reads += take;
      for (std::int64_t t = first_target(window, piece); t <= piece.end; ++t) {
        pass.targets.push_back(t);
      }
      begin += take;
      if (pass.reads == pass_tokens) close();
    }
  }
  close();
  return passes;
}

PassRunner::PassRunner(Model& model, std::span<const TokenId> tokens,
                       std::span<const Window> windows, TokenId bos)
    : model_(model), tokens_(tokens), windows_(windows), bos_(bos) {}

Hidden PassRunner::run(const TextPass& pass) {
  check_interrupt();
  std::vector<Chunk> chunks;
  std::vector<std::vector<TokenId>> replaced;  // pieces that begin with BOS
  std::vector<std::vector<std::int32_t>> outputs(pass.pieces.size());
  replaced.reserve(pass.pieces.size());
  for (std::size_t i = 0; i < pass.pieces.size(); ++i) {
    const PassPiece& piece = pass.pieces[i];
    const Window& window = windows_[piece.window];
    std::span<const TokenId> ids = tokens_.subspan(
        static_cast<std::size_t>(piece.begin), static_cast<std::size_t>(piece.end - piece.begin));
    if (window.bos && piece.begin == window.begin) {
      replaced.emplace_back(ids.begin(), ids.end());
      replaced.back().front() = bos_;
      ids = replaced.back();
    }
    for (std::int64_t t = first_target(window, piece); t <= piece.end; ++t) {
      outputs[i].push_back(static_cast<std::int32_t>(t - 1 - piece.begin));
    }
    std::shared_ptr<KvSegment>& segment = open_[piece.window];
    if (!segment) segment = model_.new_segment(nullptr, window.end - 1 - window.begin);
    chunks.push_back({segment.get(), ids, outputs[i]});
  }
  Hidden hidden = model_.forward(chunks);
  QX_CHECK(hidden.rows == static_cast<std::int64_t>(pass.targets.size()));
  for (const PassPiece& piece : pass.pieces) {
    if (piece.end == windows_[piece.window].end - 1) open_.erase(piece.window);
  }
  return hidden;
}

}  // namespace qx
