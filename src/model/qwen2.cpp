// Qwen2 and Qwen2.5: biases on q, k and v (part of the loaded Linear).
// SPDX-License-Identifier: Apache-2.0
#include "model/blocks.h"

namespace qx {

void qwen2_layer(Pass& pass, const LayerWeights& w) {
  pass.rms_norm(w.input_norm);
  pass.project_qkv(w.q, w.k, w.v);
  pass.rotate();
  pass.store_kv();
  pass.drop_finished_rows();
  pass.attend();
  pass.add_output(w.o);

  pass.rms_norm(w.post_norm);
  pass.add_mlp(w.gate, w.up, w.down);
}

}  // namespace qx
