// SPDX-License-Identifier: Apache-2.0
#include "publish/unwanted.h"

#include <algorithm>
#include <vector>

namespace qx {
namespace {

struct Name {
  std::string_view name;
  const char* why;
};

constexpr const char* kSystem = "a leftover of an operating system or editor";
constexpr const char* kUnfinished = "a temporary or unfinished file";
constexpr const char* kSecret = "may hold a secret";

constexpr Name kNames[] = {{".DS_Store", kSystem},
                           {"Thumbs.db", kSystem},
                           {"desktop.ini", kSystem},
                           {"__MACOSX", kSystem},
                           {".idea", kSystem},
                           {".vscode", kSystem},
                           {"__pycache__", kSystem},
                           {".ipynb_checkpoints", kSystem},
                           {".pytest_cache", kSystem},
                           {".venv", kSystem},
                           {".cache", "the Hub takes no folder .cache"},
                           {".netrc", kSecret},
                           {".npmrc", kSecret},
                           {".pypirc", kSecret},
                           {".git-credentials", kSecret},
                           {".htpasswd", kSecret},
                           {".aws", kSecret},
                           {".ssh", kSecret},
                           {"credentials.json", kSecret},
                           {"id_rsa", kSecret},
                           {"id_ecdsa", kSecret},
                           {"id_ed25519", kSecret}};
constexpr Name kEndings[] = {{".tmp", kUnfinished},
                             {".part", kUnfinished},
                             {".partial", kUnfinished},
                             {".incomplete", kUnfinished},
                             {".crdownload", kUnfinished},
                             {".qx-partial", kUnfinished},
                             {".lock", kUnfinished},
                             {".swp", kSystem},
                             {".swo", kSystem},
                             {"~", kSystem},
                             {".bak", kSystem},
                             {".orig", kSystem},
                             {".pyc", kSystem},
                             {".pem", kSecret},
                             {".key", kSecret},
                             {".p12", kSecret},
                             {".pfx", kSecret},
                             {".kdbx", kSecret}};

bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// A word that begins with `prefix`, not inside a longer one, and has at least so many characters
// behind it.
bool has_token(std::string_view text, std::string_view prefix, std::size_t length) {
  for (std::size_t at = text.find(prefix); at != std::string_view::npos;
       at = text.find(prefix, at + 1)) {
    if (at > 0 && is_token_char(text[at - 1])) continue;
    std::size_t end = at + prefix.size();
    bool digit = false;
    while (end < text.size() && is_token_char(text[end])) {
      digit =
          digit || (text[end] >= '0' && text[end] <= '9') || (text[end] >= 'A' && text[end] <= 'Z');
      ++end;
    }
    if (digit && end - at - prefix.size() >= length) return true;
  }
  return false;
}

}  // namespace

std::optional<std::string> unwanted_path(std::string_view path) {
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    for (const Name& n : kNames) {
      if (part == n.name) return n.why;
    }
    if (part == ".env" || part.starts_with(".env.")) return kSecret;
    if (part.starts_with("._")) return kSystem;
    for (const Name& n : kEndings) {
      if (part.size() > n.name.size() && part.ends_with(n.name)) return n.why;
    }
    begin = end + 1;
  }
  return std::nullopt;
}

std::optional<std::string> secret_in(std::string_view text) {
  if (has_token(text, "hf_", 30)) return "a Hugging Face token";
  if (has_token(text, "ghp_", 30) || has_token(text, "github_pat_", 30)) return "a GitHub token";
  if (has_token(text, "AKIA", 16)) return "an AWS key";
  const std::size_t key = text.find("-----BEGIN ");
  if (key != std::string_view::npos &&
      text.substr(key, 64).find("PRIVATE KEY-----") != std::string_view::npos) {
    return "a private key";
  }
  return std::nullopt;
}

}  // namespace qx
