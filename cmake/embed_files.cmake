# Writes embedded_NAME.h and .cpp; run at build time by qx_embed().
file(WRITE ${HEADER} "#pragma once
#include <span>
#include <string_view>
#include <utility>
namespace qx {
std::span<const std::pair<std::string_view, std::string_view>> embedded_${NAME}();
}
")
set(arrays "")
set(entries "")
set(count 0)
foreach(file IN LISTS FILES)
  file(READ ${file} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  get_filename_component(base ${file} NAME)
  string(APPEND arrays "const unsigned char kFile${count}[] = {${hex}0};\n")
  string(APPEND entries "    {\"${base}\", {reinterpret_cast<const char*>(kFile${count}), ${bytes}}},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${SOURCE} "#include \"embedded_${NAME}.h\"

#include <vector>
namespace qx {
namespace {
${arrays}}  // namespace
std::span<const std::pair<std::string_view, std::string_view>> embedded_${NAME}() {
  static const std::vector<std::pair<std::string_view, std::string_view>> files = {
${entries}  };
  return files;
}
}  // namespace qx
")
