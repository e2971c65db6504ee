// Where the files of a model that a user names are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

namespace qx {

// A directory, or with allow_gguf a .gguf file, or a Hub id "owner/name[@revision]" looked up in
// the local Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub). Fails:
// Error that says where it looked.
std::filesystem::path resolve_model(const std::string& name, bool allow_gguf = false);

}  // namespace qx
