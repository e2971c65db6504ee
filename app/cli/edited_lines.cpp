// Lines from a terminal, by libedit (its manual page editline(3)).
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "line_editor.h"

namespace qx::cli {
namespace fs = std::filesystem;
namespace {

constexpr wchar_t kReplacement = 0xFFFD;
constexpr int kHistorySize = 1000;
constexpr std::uintmax_t kLargestHistory = std::uintmax_t{16} << 20;
// Terminals that know bracketed paste mark what is pasted, so that its line feeds do not send it.
constexpr const char* kPasteOn = "\x1b[?2004h";
constexpr const char* kPasteOff = "\x1b[?2004l";
constexpr std::wstring_view kPasteEnd = L"\x1b[201~";

// libedit and the functions below go by the locale; our text is UTF-8.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  for (const char* name : {"C.UTF-8", "en_US.UTF-8"}) {
    if (std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0) return;
    std::setlocale(LC_CTYPE, name);
  }
}

std::string narrow(std::wstring_view text) {
  std::string out;
  std::mbstate_t state{};
  for (const wchar_t c : text) {
    std::array<char, 16> bytes{};
    const std::size_t count = std::wcrtomb(bytes.data(), c, &state);
    if (count == static_cast<std::size_t>(-1)) {
      state = {};
      out += "\xEF\xBF\xBD";
    } else {
      out.append(bytes.data(), count);
    }
  }
  return out;
}

std::wstring widen(std::string_view text) {
  std::wstring out;
  std::mbstate_t state{};
  for (std::size_t at = 0; at < text.size();) {
    wchar_t c = 0;
    const std::size_t count = std::mbrtowc(&c, text.data() + at, text.size() - at, &state);
    const bool valid = count > 0 && count <= text.size() - at;
    if (!valid) state = {};
    out += valid ? c : kReplacement;
    at += valid ? count : 1;
  }
  return out;
}

void warn(const fs::path& path, const char* what) {
  fmt::print(stderr, "qx chat: warning: [{}] {}\n", path.string(), what);
}

class EditedLines final : public LineSource {
 public:
  EditedLines(ChatSignals& signals, fs::path history_file)
      : signals_(signals), history_file_(std::move(history_file)) {
    use_utf8();
    editor_ = el_init("qx", stdin, stdout, stderr);
    history_ = history_winit();
    if (editor_ == nullptr || history_ == nullptr) {
      fail("stdin", "got a terminal that cannot be used; pipe lines into qx chat instead");
    }
    HistEventW event{};
    history_w(history_, &event, H_SETSIZE, kHistorySize);
    history_w(history_, &event, H_SETUNIQUE, 1);
    load_history();
    set_up_editor();
  }

  ~EditedLines() override {
    save_history();
    history_wend(history_);
    el_end(editor_);
  }
  EditedLines(const EditedLines&) = delete;
  EditedLines& operator=(const EditedLines&) = delete;

  TypedLine read(const std::string& prompt) override {
    prompt_ = widen(prompt);
    outcome_.reset();
    signals_.forget();
    terminal_mode(kPasteOn);
    signals_.note_suspend(true);
    // libedit shows the prompt before it takes the terminal over; a key that is pressed in between would
    // be read as the terminal's own.
    el_wset(editor_, EL_PREP_TERM, 1);
    int count = 0;
    const wchar_t* line = el_wgets(editor_, &count);
    signals_.note_suspend(false);
    terminal_mode(kPasteOff);
    if (line == nullptr || count <= 0 || outcome_) {
      std::fputs("\n", stdout);
      std::fflush(stdout);
      return {outcome_.value_or(TypedLine::Kind::kEnd)};
    }
    std::wstring_view text(line, static_cast<std::size_t>(count));
    if (text.ends_with(L'\n')) text.remove_suffix(1);
    return {TypedLine::Kind::kText, narrow(text)};
  }

  void remember(const std::string& text) override {
    HistEventW event{};
    history_w(history_, &event, H_ENTER, widen(text).c_str());
  }

 private:
  static EditedLines& self(EditLine* editor) {
    void* data = nullptr;
    el_wget(editor, EL_CLIENTDATA, &data);
    return *static_cast<EditedLines*>(data);
  }
  static wchar_t* prompt_of(EditLine* editor) { return self(editor).prompt_.data(); }
  static int next_character(EditLine* editor, wchar_t* out) {
    return self(editor).read_character(out);
  }
  static unsigned char insert_newline(EditLine* editor, wint_t) {
    return el_winsertstr(editor, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
  }
  static unsigned char insert_paste(EditLine* editor, wint_t) {
    std::wstring text;
    wchar_t c = 0;
    while (!text.ends_with(kPasteEnd)) {
      if (el_wgetc(editor, &c) != 1) return CC_EOF;
      if (text.size() < kLongestLine / 4) text += c == L'\r' ? L'\n' : c;
    }
    text.resize(text.size() - kPasteEnd.size());
    std::erase_if(text, [](wchar_t x) { return (x < 32 && x != L'\n' && x != L'\t') || x == 127; });
    while (text.ends_with(L'\n')) text.pop_back();
    return text.empty() || el_winsertstr(editor, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  void set_up_editor() {
    el_wset(editor_, EL_CLIENTDATA, this);
    el_wset(editor_, EL_SIGNAL, 0);  // ours
    el_wset(editor_, EL_EDITOR, L"emacs");
    el_wset(editor_, EL_PROMPT, prompt_of);
    el_wset(editor_, EL_HIST, history_w, history_);
    el_wset(editor_, EL_GETCFN, next_character);
    el_wset(editor_, EL_ADDFN, L"qx-newline", L"Begin a new line", insert_newline);
    el_wset(editor_, EL_ADDFN, L"qx-paste", L"Insert what is pasted", insert_paste);
    bind(L"^R", L"em-inc-search-prev");
    bind(L"\\e[3~", L"ed-delete-next-char");
    bind(L"\\e[1;5C", L"em-next-word");
    bind(L"\\e[1;5D", L"ed-prev-word");
    el_source(editor_, nullptr);  // the user's ~/.editrc
    bind(L"\\e\\n", L"qx-newline");
    bind(L"\\e\\r", L"qx-newline");
    bind(L"\\e[200~", L"qx-paste");
  }

  void bind(const wchar_t* keys, const wchar_t* function) {
    el_wset(editor_, EL_BIND, keys, function, nullptr);
  }

  static void terminal_mode(const char* sequence) {
    std::fputs(sequence, stdout);
    std::fflush(stdout);
  }

  // As libedit wants it: 1 and a character, 0 at the end, -1 to give the line up.
  int read_character(wchar_t* out) {
    std::mbstate_t state{};
    for (;;) {
      if (signals_.ended()) return give_up(TypedLine::Kind::kAsked);
      if (signals_.interrupted()) return give_up(TypedLine::Kind::kInterrupted);
      if (signals_.take_suspend()) suspend();
      if (signals_.take_resized()) el_resize(editor_);
      if (!signals_.wait_for_input(STDIN_FILENO)) continue;
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count <= 0) return 0;
      const std::size_t length = std::mbrtowc(out, &byte, 1, &state);
      if (length == static_cast<std::size_t>(-2)) continue;  // more bytes to come
      if (length == static_cast<std::size_t>(-1)) *out = kReplacement;
      return 1;
    }
  }

  int give_up(TypedLine::Kind outcome) {
    outcome_ = outcome;
    return -1;
  }

  void suspend() {
    el_wset(editor_, EL_PREP_TERM, 0);
    terminal_mode(kPasteOff);
    ::raise(SIGSTOP);
    terminal_mode(kPasteOn);
    el_wset(editor_, EL_PREP_TERM, 1);
    el_wset(editor_, EL_REFRESH);
  }

  void load_history() {
    std::error_code error;
    if (history_file_.empty() || !fs::exists(history_file_, error)) return;
    HistEventW event{};
    if (!fs::is_regular_file(history_file_, error) ||
        fs::file_size(history_file_, error) > kLargestHistory ||
        history_w(history_, &event, H_LOAD, history_file_.c_str()) < 0) {
      warn(history_file_, "is no history that can be read; it is left as it is");
      history_file_.clear();
    }
  }

  // Whole or absent, and for the owner alone: mkstemp's files are.
  void save_history() {
    if (history_file_.empty()) return;
    std::error_code error;
    if (history_file_.has_parent_path()) fs::create_directories(history_file_.parent_path(), error);
    std::string partial = history_file_.string() + ".XXXXXX";
    const int descriptor = ::mkstemp(partial.data());
    std::FILE* file = descriptor < 0 ? nullptr : ::fdopen(descriptor, "w");
    if (file == nullptr) {
      if (descriptor >= 0) ::close(descriptor);
      return warn(history_file_, "cannot be written; this session's input is not kept");
    }
    HistEventW event{};
    const bool written = history_w(history_, &event, H_SAVE_FP, file) >= 0;
    const bool closed = std::fclose(file) == 0;
    if (!written || !closed || ::rename(partial.c_str(), history_file_.c_str()) != 0) {
      ::unlink(partial.c_str());
      warn(history_file_, "cannot be written; this session's input is not kept");
    }
  }

  ChatSignals& signals_;
  fs::path history_file_;
  EditLine* editor_ = nullptr;
  HistoryW* history_ = nullptr;
  std::wstring prompt_;
  std::optional<TypedLine::Kind> outcome_;  // of a line that was given up
};

}  // namespace

std::unique_ptr<LineSource> edited_lines(ChatSignals& signals, const fs::path& history) {
  return std::make_unique<EditedLines>(signals, history);
}

}  // namespace qx::cli
