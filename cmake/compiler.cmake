# Flags for every target. No -march=native and no fast-math: one portable binary, reproducible sums.
add_library(qx_flags INTERFACE)
target_compile_options(qx_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Woverloaded-virtual -Wnull-dereference -Wdouble-promotion
  -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these inside its own standard library headers when it inlines deeply.
  target_compile_options(qx_flags INTERFACE -Wno-null-dereference -Wno-restrict
    -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds -Wno-maybe-uninitialized)
endif()
if(CMAKE_UNITY_BUILD)
  # A local name may be that of another file's helper; g++ takes a file that is included for a header.
  target_compile_options(qx_flags INTERFACE -Wno-shadow $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(QX_WERROR)
  target_compile_options(qx_flags INTERFACE -Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(qx_flags INTERFACE _GLIBCXX_ASSERTIONS)
  # Line numbers for the sanitizers' reports; full debug information takes twice the time to compile.
  target_compile_options(qx_flags INTERFACE -O1 -g1)
endif()
if(QX_SANITIZE)
  target_compile_options(qx_flags INTERFACE
    -fsanitize=${QX_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(qx_flags INTERFACE -fsanitize=${QX_SANITIZE})
  if(QX_FUZZ)
    target_compile_options(qx_flags INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(qx_flags INTERFACE -fsanitize=fuzzer-no-link)
  endif()
endif()

find_program(QX_CCACHE ccache)
if(QX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The second word of it lets ccache keep what was compiled with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${QX_CCACHE})
endif()
