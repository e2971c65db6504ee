# qx_library(NAME SOURCES a.cpp .. DEPS qx_base ..): one static library per folder of src/.
function(qx_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC ${A_DEPS} PRIVATE qx_flags)
endfunction()

# Test code is compiled quickly rather than well; what it tests is optimized. Comes after qx_flags.
add_library(qx_test_flags INTERFACE)
target_compile_options(qx_test_flags INTERFACE -Wno-double-promotion
  $<IF:$<CONFIG:Debug>,-O0,-O1>)

# qx_test(NAME SOURCES a_test.cpp .. DEPS ..): one GoogleTest program per folder, run by ctest.
function(qx_test name)
  if(NOT QX_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE ${A_DEPS} qx_flags qx_test_flags GTest::gtest_main)
  # Tests name their helpers alike.
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# qx_fuzzer(NAME SOURCE a_fuzz.cpp DEPS ..): a libFuzzer target.
function(qx_fuzzer name)
  cmake_parse_arguments(A "" "SOURCE" "DEPS" ${ARGN})
  add_executable(${name} ${A_SOURCE})
  target_link_libraries(${name} PRIVATE ${A_DEPS} qx_flags)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
