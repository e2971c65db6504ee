# Every third-party library, each from the distribution's packages (make deps installs them).
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Boost 1.71 REQUIRED)        # header only: Boost.Math
find_package(Eigen3 3.3 REQUIRED NO_MODULE)  # header only: Cholesky factors
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)  # SHA-256, HTTPS
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)  # line editing of qx chat; BSD licence
# The front matter of model cards. Their headers are not ours to warn about.
pkg_check_modules(YAMLCPP REQUIRED IMPORTED_TARGET yaml-cpp)
add_library(qx_yaml INTERFACE)
target_link_libraries(qx_yaml INTERFACE PkgConfig::YAMLCPP)
target_include_directories(qx_yaml SYSTEM INTERFACE ${YAMLCPP_INCLUDE_DIRS})
# HTTP client and, in tests, server. Some systems' package is the header alone, without a pkg-config file.
pkg_check_modules(HTTPLIB IMPORTED_TARGET cpp-httplib)
add_library(qx_httplib INTERFACE)
if(HTTPLIB_FOUND)
  target_link_libraries(qx_httplib INTERFACE PkgConfig::HTTPLIB)
else()
  find_path(QX_HTTPLIB_INCLUDE httplib.h REQUIRED)
  target_include_directories(qx_httplib SYSTEM INTERFACE ${QX_HTTPLIB_INCLUDE})
  target_compile_definitions(qx_httplib INTERFACE CPPHTTPLIB_OPENSSL_SUPPORT)
endif()
target_link_libraries(qx_httplib INTERFACE OpenSSL::SSL OpenSSL::Crypto Threads::Threads)

# Chart.js draws the charts of `qx report`; it is compiled in (src/report). Debian and Ubuntu install it under this
# folder, by names that changed with its versions; 3.x or later is needed.
find_file(QX_CHART_JS NAMES chart.min.js Chart.min.js chart.umd.js chart.umd.min.js
  PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist /usr/local/share/javascript/chart.js
        /opt/homebrew/share/javascript/chart.js
  NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
if(NOT QX_CHART_JS)
  message(FATAL_ERROR "Chart.js is missing: install the package libjs-chart.js (tools/install_deps.sh build), or give "
    "the path of its chart.min.js or chart.umd.js, version 3 or later, with -DQX_CHART_JS=FILE")
endif()
file(READ ${QX_CHART_JS} chart_js_head LIMIT 400)
if(NOT chart_js_head MATCHES "Chart\\.js v([0-9]+)" OR CMAKE_MATCH_1 LESS 3)
  message(FATAL_ERROR "${QX_CHART_JS}: got no Chart.js of version 3 or later, expected one whose first lines say so")
endif()
get_filename_component(QX_CHART_JS_NAME ${QX_CHART_JS} NAME)

# MPI spreads evaluations over machines (docs/cluster.md). AUTO leaves it out of builds with sanitizers, which
# know nothing of MPI's own memory and threads, and of cross builds, which would find the wrong machine's.
set(QX_HAVE_MPI OFF)
if(QX_MPI STREQUAL "ON")
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI REQUIRED COMPONENTS CXX)
  set(QX_HAVE_MPI ON)
elseif(QX_MPI STREQUAL "AUTO" AND NOT QX_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI QUIET COMPONENTS CXX)
  set(QX_HAVE_MPI ${MPI_CXX_FOUND})
elseif(NOT QX_MPI MATCHES "^(AUTO|OFF)$")
  message(FATAL_ERROR "QX_MPI: got '${QX_MPI}', expected ON, OFF or AUTO")
endif()
message(STATUS "MPI: ${QX_HAVE_MPI}")

if(QX_TESTS)
  find_package(GTest REQUIRED)
endif()
if(QX_BENCH)
  find_package(benchmark REQUIRED)
endif()
