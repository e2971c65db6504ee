// Qwen3: RMS norm of each query and key head before the rotation; no biases.
// SPDX-License-Identifier: Apache-2.0
#include "model/blocks.h"

namespace qx {

void qwen3_layer(Pass& pass, const LayerWeights& w) {
  pass.rms_norm(w.input_norm);
  pass.project_qkv(w.q, w.k, w.v);
  pass.norm_heads(w.q_norm, w.k_norm);
  pass.rotate();
  pass.store_kv();
  pass.drop_finished_rows();
  pass.attend();
  pass.add_output(w.o);

  pass.rms_norm(w.post_norm);
  pass.add_mlp(w.gate, w.up, w.down);
}

}  // namespace qx
