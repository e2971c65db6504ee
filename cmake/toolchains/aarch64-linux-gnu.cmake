# Cross-compiles for 64-bit ARM under Linux with Debian's packages; test programs run under qemu-user. The environment
# variable QEMU_CPU chooses the processor that is emulated, and so the kernel tables that can run.
# QX_AARCH64_SYSROOT: a folder with the libraries of that architecture; tools/aarch64_sysroot.sh makes it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES QX_AARCH64_SYSROOT)
set(CMAKE_FIND_ROOT_PATH ${QX_AARCH64_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
# Libraries of headers alone are the same for every architecture: this machine's are taken.
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
set(ENV{PKG_CONFIG_LIBDIR} ${QX_AARCH64_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${QX_AARCH64_SYSROOT})
# Headers that differ by architecture; the compiler looks for them only where the packages would put them.
set(CMAKE_CXX_STANDARD_INCLUDE_DIRECTORIES ${QX_AARCH64_SYSROOT}/usr/include/aarch64-linux-gnu)
# The libraries' own libraries lie there too, and only the older kind of run path is searched for those.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--disable-new-dtags")
