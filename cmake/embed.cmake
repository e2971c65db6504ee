# qx_embed(TARGET NAME FILE ..): compiles the bytes of data files into TARGET, so that the program needs no
# files beside it. In C++: #include "embedded_NAME.h", then qx::embedded_NAME() gives {file name, content} pairs.
include_guard()

function(qx_embed target name)
  set(header ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.h)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.cpp)
  add_custom_command(OUTPUT ${header} ${source}
    COMMAND ${CMAKE_COMMAND} -DNAME=${name} -DHEADER=${header} -DSOURCE=${source} "-DFILES=${ARGN}"
            -P ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake VERBATIM)
  # All of them name their arrays alike.
  set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(${target} PRIVATE ${source} ${header})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
