// What a client of the server did wrong, in the words of OpenAI's API.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "io/json.h"

namespace qx {

class ApiError : public std::runtime_error {
 public:
  // param: the member of the request that it is about, or "".
  ApiError(int the_status, const std::string& message, std::string the_param = {},
           std::string the_code = {})
      : std::runtime_error(message),
        status(the_status),
        param(std::move(the_param)),
        code(std::move(the_code)) {}

  const int status;
  const std::string param, code;
};

// Throws ApiError 400: "PARAM: got X, expected Y".
template <typename... Args>
[[noreturn]] void refuse_param(std::string_view param, fmt::format_string<Args...> format,
                               Args&&... args) {
  throw ApiError(400,
                 fmt::format("{}: {}", param, fmt::format(format, std::forward<Args>(args)...)),
                 std::string(param));
}

// {"error": {"message", "type", "param", "code"}}
Json error_json(int status, std::string_view message, std::string_view param = {},
                std::string_view code = {});

}  // namespace qx
