# What most files include is parsed once (precompiled.h); every target takes it from the owner of its kind. A folder
# whose files have flags of their own says DISABLE_PRECOMPILE_HEADERS.
option(QX_PRECOMPILED "Parse common headers once (OFF: every file shows that it includes what it uses)" ON)
if(QX_PRECOMPILED)
  add_library(qx_precompiled STATIC cmake/precompiled.cpp)
  target_link_libraries(qx_precompiled PRIVATE fmt::fmt nlohmann_json::nlohmann_json qx_flags)
  target_precompile_headers(qx_precompiled PRIVATE cmake/precompiled.h)
endif()

# qx_library(NAME SOURCES a.cpp .. DEPS qx_base ..): one static library per folder of src/.
function(qx_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC ${A_DEPS} PRIVATE qx_flags)
  if(QX_PRECOMPILED)
    target_precompile_headers(${name} REUSE_FROM qx_precompiled)
  endif()
endfunction()

# Test code is compiled quickly rather than well; what it tests is optimized. Comes after qx_flags.
add_library(qx_test_flags INTERFACE)
target_compile_options(qx_test_flags INTERFACE -Wno-double-promotion -O0)
if(QX_PRECOMPILED AND QX_TESTS)
  add_executable(qx_precompiled_tests cmake/precompiled.cpp)
  target_link_libraries(qx_precompiled_tests PRIVATE fmt::fmt nlohmann_json::nlohmann_json qx_flags qx_test_flags
    GTest::gtest_main)
  target_precompile_headers(qx_precompiled_tests PRIVATE cmake/precompiled.h <gtest/gtest.h>)
endif()

# qx_test_program(NAME): flags and headers of test code and GoogleTest's main function, for an executable.
function(qx_test_program name)
  target_link_libraries(${name} PRIVATE qx_flags qx_test_flags GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(QX_PRECOMPILED)
    target_precompile_headers(${name} REUSE_FROM qx_precompiled_tests)
  endif()
endfunction()

# qx_test(NAME SOURCES a_test.cpp .. DEPS ..): one GoogleTest program per folder, run by ctest.
function(qx_test name)
  if(NOT QX_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_DEPS})
  qx_test_program(${name})
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# qx_fuzzer(NAME SOURCE a_fuzz.cpp DEPS ..): a libFuzzer target.
function(qx_fuzzer name)
  cmake_parse_arguments(A "" "SOURCE" "DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCE})
  target_link_libraries(${name} PRIVATE ${A_DEPS} qx_flags)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
