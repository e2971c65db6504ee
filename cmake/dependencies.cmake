# Every third-party library, each from the distribution's packages (make deps installs them).
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Boost 1.71 REQUIRED)        # header only: Boost.Math
find_package(OpenSSL REQUIRED COMPONENTS Crypto)  # SHA-256
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
if(QX_TESTS)
  find_package(GTest REQUIRED)
endif()
if(QX_BENCH)
  find_package(benchmark REQUIRED)
endif()
