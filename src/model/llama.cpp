// Llama and what is shaped like it: biases only where config.json asks for them.
// SPDX-License-Identifier: Apache-2.0
#include "model/blocks.h"

namespace qx {

void llama_layer(Pass& pass, const LayerWeights& w) {
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
