// HTTP requests to qx serve with something wrong in each, for tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace qx::e2e {

struct MalformedRequest {
  const char* kind = "";
  std::string bytes;
  // Whether it has to be refused. Else it is a good request with some bytes changed, which may have
  // become another good one.
  bool surely = true;
  // Whether nothing follows it, ever. Else the client waits for the answer: the body is as long as
  // the head says.
  bool cut_short = false;
};

// The same number gives the same request, everywhere. The server is expected to take bodies of up
// to max_body bytes, and to serve a model of at most 4096 tokens of context.
MalformedRequest malformed_request(std::uint64_t number, std::size_t max_body);

}  // namespace qx::e2e
