// Renders chat templates for the parity test: reads one JSON object a line on stdin,
//   {"template": "..", "messages": [..], "tools": [..], "variables": {..}, "bos_token": "..", "eos_token": "..",
//    "add_generation_prompt": true, "continue_final_message": false}
// and writes {"output": ".."} or {"error": ".."} a line. A test tool: not part of the program.
// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

std::string render_line(const std::string& line) {
  const qx::Json request = qx::parse_json(line, "request");
  qx::ChatOptions options;
  options.add_generation_prompt = request.value("add_generation_prompt", false);
  options.continue_final_message = request.value("continue_final_message", false);
  options.tools = request.value("tools", qx::Json());
  options.variables = request.value("variables", qx::Json());
  const qx::ChatTemplate chat(request.at("template").get<std::string>(),
                              request.value("bos_token", ""), request.value("eos_token", ""),
                              "template");
  return chat.render(request.value("messages", qx::Json::array()), options);
}

}  // namespace

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) {
      qx::Json answer = qx::Json::object();
      try {
        answer["output"] = render_line(line);
      } catch (const qx::Error& error) {
        answer["error"] = error.what();
      }
      std::cout << answer.dump() << "\n";
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
