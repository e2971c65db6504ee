// SPDX-License-Identifier: Apache-2.0
#include "constrain/key_scanner.h"

#include <algorithm>
#include <functional>

namespace qx {

bool KeyScanner::Level::has(std::string_view key) const {
  return (keys != nullptr && keys->contains(key)) ||
         std::find(added.begin(), added.end(), key) != added.end();
}

// Reads on from a scanner without changing it: copies only the levels that the bytes touch.
class KeyScanner::Reader {
 public:
  explicit Reader(const KeyScanner& from)
      : from_(from),
        below_(from.levels_.size()),
        in_string_(from.in_string_),
        escaped_(from.escaped_),
        in_key_(from.in_key_),
        key_(from.key_) {}

  // False: a key came twice.
  bool read(std::string_view bytes) {
    for (const char c : bytes) {
      if (!(in_string_ ? inside(c) : outside(c))) return false;
    }
    return true;
  }

  void store(KeyScanner& to) {
    for (Level& level : touched_) {
      if (level.added.empty()) continue;
      auto keys = std::make_shared<Keys>(level.keys != nullptr ? *level.keys : Keys());
      keys->insert(level.added.begin(), level.added.end());
      level.keys = std::move(keys);
      level.added.clear();
    }
    to.levels_.resize(below_);
    to.levels_.insert(to.levels_.end(), touched_.begin(), touched_.end());
    to.in_string_ = in_string_;
    to.escaped_ = escaped_;
    to.in_key_ = in_key_;
    to.key_ = key_;
  }

 private:
  Level* top() {
    if (touched_.empty() && below_ > 0) touched_.push_back(from_.levels_[--below_]);
    return touched_.empty() ? nullptr : &touched_.back();
  }

  bool inside(char c) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      if (!in_key_) return true;
      Level* level = top();
      if (level == nullptr) return true;
      if (level->has(key_)) return false;
      level->added.push_back(key_);
      return true;
    }
    if (in_key_) key_.push_back(c);
    return true;
  }

  bool outside(char c) {
    switch (c) {
      case '{':
      case '[':
        top();  // so that levels lie in order
        touched_.push_back({c == '{', c == '{', nullptr});
        break;
      case '}':
      case ']':
        if (top() != nullptr) touched_.pop_back();
        break;
      case ',':
        if (Level* level = top()) level->expects_key = level->object;
        break;
      case ':':
        if (Level* level = top()) level->expects_key = false;
        break;
      case '"': {
        const Level* level = top();
        in_string_ = true;
        in_key_ = level != nullptr && level->object && level->expects_key;
        key_.clear();
        break;
      }
      default:
        break;
    }
    return true;
  }

  const KeyScanner& from_;
  std::size_t below_;           // levels of from_ that are as they were
  std::vector<Level> touched_;  // those above
  bool in_string_, escaped_, in_key_;
  std::string key_;
};

bool KeyScanner::repeats_key(std::string_view bytes) const {
  return !Reader(*this).read(bytes);
}

void KeyScanner::take(std::string_view bytes) {
  Reader reader(*this);
  reader.read(bytes);
  reader.store(*this);
}

}  // namespace qx
