# SPDX-License-Identifier: Apache-2.0
# Finds everything Hadal does not write itself and gives each a target:
#   Kokkos::kokkos Kokkos::kokkoskernels fmt::fmt spdlog::spdlog CLI11::CLI11 nlohmann_json::nlohmann_json
#   GTest::gtest (HADAL_TESTS) benchmark::benchmark (HADAL_BENCH)
#   hadal_dep_{hdf5,dnnl,blas,pcre2,xxhash,toml,httplib}; hadal_dep_mpi where MPI is found; hadal_dep_nccl (HADAL_NCCL)
# What is missing is reported together, with the variable that points to it. Libraries are linked, not only looked at.
# Installed beside HadalConfig.cmake, which includes it.
include(CheckCXXSourceCompiles)
include(CheckCXXSourceRuns)
set(HADAL_MISSING "")

# hadal_note_missing(WHAT VARIABLE DEBIAN_PACKAGE): one row of the table.
macro(hadal_note_missing what variable package)
  string(APPEND HADAL_MISSING "\n  ${what}|${variable}|${package}")
endmacro()

# hadal_need_package(WHAT TARGET VARIABLE DEBIAN_PACKAGE ARGS...): find_package, then the target must exist.
macro(hadal_need_package what target variable package)
  if(NOT TARGET ${target})
    find_package(${ARGN} QUIET)
  endif()
  if(NOT TARGET ${target})
    hadal_note_missing("${what}" "${variable}" "${package}")
  endif()
endmacro()

# hadal_need_library(NAME WHAT HEADER LIBRARY DEBIAN_PACKAGE CODE [RUNS] [DEFINES ...] [PATHS ...]): header, library
# and a program that runs CODE (links it; RUNS: runs it too) become the target hadal_dep_NAME.
# HADAL_NAME_ROOT or CMAKE_PREFIX_PATH point to it.
function(hadal_need_library name what header library package code)
  cmake_parse_arguments(need "RUNS" "" "DEFINES;PATHS" ${ARGN})
  if(TARGET hadal_dep_${name})
    return()
  endif()
  string(TOUPPER ${name} upper)
  set(roots ${HADAL_${upper}_ROOT} $ENV{HADAL_${upper}_ROOT})
  find_path(HADAL_${upper}_INCLUDE ${header} HINTS ${roots} ${need_PATHS} PATH_SUFFIXES include)
  find_library(HADAL_${upper}_LIBRARY ${library} HINTS ${roots} ${need_PATHS} PATH_SUFFIXES lib lib64)
  mark_as_advanced(HADAL_${upper}_INCLUDE HADAL_${upper}_LIBRARY)
  if(HADAL_${upper}_INCLUDE AND HADAL_${upper}_LIBRARY)
    set(CMAKE_REQUIRED_INCLUDES ${HADAL_${upper}_INCLUDE})
    set(CMAKE_REQUIRED_LIBRARIES ${HADAL_${upper}_LIBRARY})
    set(CMAKE_REQUIRED_DEFINITIONS ${need_DEFINES})
    set(CMAKE_REQUIRED_QUIET ON)
    if(need_RUNS AND NOT CMAKE_CROSSCOMPILING)
      check_cxx_source_runs("#include <${header}>\nint main() { ${code} }" HADAL_${upper}_LINKS)
    else()
      check_cxx_source_compiles("#include <${header}>\nint main() { ${code} }" HADAL_${upper}_LINKS)
    endif()
  endif()
  if(HADAL_${upper}_LINKS)
    add_library(hadal_dep_${name} INTERFACE IMPORTED GLOBAL)
    set_target_properties(hadal_dep_${name} PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES ${HADAL_${upper}_INCLUDE} INTERFACE_LINK_LIBRARIES ${HADAL_${upper}_LIBRARY})
  else()
    unset(HADAL_${upper}_LINKS CACHE)  # so that the next configure looks again
    hadal_note_missing("${what}" "HADAL_${upper}_ROOT" "${package}")
    set(HADAL_MISSING "${HADAL_MISSING}" PARENT_SCOPE)
  endif()
endfunction()

# True when the Kokkos that CMake finds by itself can use more than one core (Debian's binaries are Serial). Asked in a
# directory of its own, because the targets of a Kokkos that is not wanted cannot be taken back.
function(hadal_probe_kokkos result)
  if(EXISTS "${Kokkos_DIR}/KokkosConfig.cmake")
    set(${result} ON PARENT_SCOPE)
    return()
  endif()
  set(probe ${CMAKE_BINARY_DIR}/kokkos_probe)
  file(WRITE ${probe}/CMakeLists.txt "
    find_package(Kokkos QUIET)
    set(HADAL_PROBED_DEVICES \"\${Kokkos_DEVICES}\" PARENT_SCOPE)\n")
  add_subdirectory(${probe} ${probe}/build EXCLUDE_FROM_ALL)
  unset(Kokkos_DIR CACHE)
  if(HADAL_PROBED_DEVICES MATCHES "OPENMP|CUDA|HIP|SYCL|THREADS")
    set(${result} ON PARENT_SCOPE)
  else()
    set(${result} OFF PARENT_SCOPE)
  endif()
endfunction()

# Kokkos: the one that CMake finds by itself wins; else the one that tools/setup built for this compiler and processor.
macro(hadal_find_kokkos)
  hadal_probe_kokkos(HADAL_OWN_KOKKOS)
  if(HADAL_OWN_KOKKOS)
    find_package(Kokkos QUIET)
  else()
    find_program(HADAL_SETUP setup PATHS ${CMAKE_CURRENT_LIST_DIR}/.. NO_DEFAULT_PATH)
    mark_as_advanced(HADAL_SETUP)
    if(HADAL_SETUP)
      execute_process(COMMAND ${HADAL_SETUP} --prefix
        OUTPUT_VARIABLE HADAL_KOKKOS_PREFIX OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(HADAL_KOKKOS_PREFIX)
        find_package(Kokkos QUIET PATHS ${HADAL_KOKKOS_PREFIX} NO_DEFAULT_PATH)
        find_package(KokkosKernels QUIET PATHS ${HADAL_KOKKOS_PREFIX} NO_DEFAULT_PATH)
      endif()
    endif()
  endif()
  if(NOT KokkosKernels_FOUND)
    find_package(KokkosKernels QUIET)
  endif()
  if(NOT TARGET Kokkos::kokkos)
    hadal_note_missing("Kokkos (OpenMP or CUDA)" "Kokkos_ROOT" "built by tools/setup")
  elseif(NOT TARGET Kokkos::kokkoskernels)
    hadal_note_missing("Kokkos Kernels" "KokkosKernels_ROOT" "built by tools/setup")
  endif()
endmacro()

hadal_find_kokkos()
hadal_need_package("OpenMP" OpenMP::OpenMP_CXX "CXX" "g++" OpenMP)
hadal_need_package("fmt" fmt::fmt "fmt_ROOT" "libfmt-dev" fmt)
hadal_need_package("spdlog" spdlog::spdlog "spdlog_ROOT" "libspdlog-dev" spdlog)
hadal_need_package("CLI11" CLI11::CLI11 "CLI11_ROOT" "libcli11-dev" CLI11)
hadal_need_package("nlohmann_json" nlohmann_json::nlohmann_json "nlohmann_json_ROOT" "nlohmann-json3-dev" nlohmann_json)
hadal_need_package("toml++" tomlplusplus::tomlplusplus "tomlplusplus_ROOT" "libtomlplusplus-dev" tomlplusplus)
hadal_need_package("HDF5 (C)" hdf5::hdf5 "HDF5_ROOT" "libhdf5-dev" HDF5 COMPONENTS C)
if(HADAL_TESTS)
  hadal_need_package("GoogleTest" GTest::gtest "GTest_ROOT" "libgtest-dev libgmock-dev" GTest)
endif()
if(HADAL_BENCH)
  hadal_need_package("Google Benchmark" benchmark::benchmark "benchmark_ROOT" "libbenchmark-dev" benchmark)
endif()

hadal_need_library(dnnl "oneDNN" dnnl.hpp dnnl libdnnl-dev "return dnnl::engine::get_count(dnnl::engine::kind::cpu) == 0;")
hadal_need_library(xxhash "xxHash" xxhash.h xxhash libxxhash-dev "return XXH3_64bits(nullptr, 0) == 0;")
hadal_need_library(pcre2 "PCRE2" pcre2.h pcre2-8 libpcre2-dev "pcre2_code_free_8(nullptr);" DEFINES -DPCRE2_CODE_UNIT_WIDTH=8)
# The OpenMP build of OpenBLAS, by its own folder: the pthread build fights the OpenMP threads of Kokkos, and Debian's
# alternatives load that one even when this one was linked; so the folder becomes the run path.
hadal_need_library(blas "OpenBLAS (OpenMP build)" cblas.h openblas libopenblas-openmp-dev
  "return openblas_get_parallel() != 2;" RUNS PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp
  /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)

# Debian's cpp-httplib is a library whose classes have members for TLS and compression: who uses it must say the same.
set(HADAL_HTTPLIB_DEFINES CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT CPPHTTPLIB_BROTLI_SUPPORT)
hadal_need_library(httplib "cpp-httplib (with TLS)" httplib.h cpp-httplib libcpp-httplib-dev
  "httplib::SSLClient client(\"localhost\"); return client.is_valid();"
  DEFINES -DCPPHTTPLIB_OPENSSL_SUPPORT -DCPPHTTPLIB_ZLIB_SUPPORT -DCPPHTTPLIB_BROTLI_SUPPORT)
if(TARGET hadal_dep_httplib)
  set_target_properties(hadal_dep_httplib PROPERTIES INTERFACE_COMPILE_DEFINITIONS "${HADAL_HTTPLIB_DEFINES}")
endif()

# MPI is optional: without it the program runs on one rank.
if(NOT DEFINED HADAL_MPI OR HADAL_MPI)
  find_package(MPI QUIET COMPONENTS CXX)
  if(HADAL_MPI AND NOT MPI_CXX_FOUND)
    hadal_note_missing("MPI (HADAL_MPI=ON)" "MPI_HOME" "libopenmpi-dev openmpi-bin")
  elseif(MPI_CXX_FOUND AND NOT TARGET hadal_dep_mpi)
    add_library(hadal_dep_mpi INTERFACE IMPORTED GLOBAL)
    set_target_properties(hadal_dep_mpi PROPERTIES INTERFACE_LINK_LIBRARIES MPI::MPI_CXX)
  endif()
endif()
if(HADAL_NCCL)
  hadal_need_library(nccl "NCCL" nccl.h nccl libnccl-dev "return ncclGetVersion(nullptr) == ncclSuccess;"
    PATHS ${CUDAToolkit_ROOT} /usr/local/cuda)
endif()

foreach(pair IN ITEMS "hdf5 hdf5::hdf5" "toml tomlplusplus::tomlplusplus")
  separate_arguments(pair UNIX_COMMAND "${pair}")
  list(GET pair 0 name)
  list(GET pair 1 target)
  if(TARGET ${target} AND NOT TARGET hadal_dep_${name})
    add_library(hadal_dep_${name} INTERFACE IMPORTED GLOBAL)
    set_target_properties(hadal_dep_${name} PROPERTIES INTERFACE_LINK_LIBRARIES ${target})
  endif()
endforeach()

# One table for everything that is missing.
if(HADAL_MISSING)
  set(table "")
  string(REPLACE "\n  " ";" rows "${HADAL_MISSING}")
  foreach(row ${rows})
    string(REPLACE "|" ";" cells "${row}")
    list(GET cells 0 what)
    list(GET cells 1 variable)
    list(GET cells 2 package)
    string(SUBSTRING "${what}                              " 0 26 what)
    string(SUBSTRING "${variable}                          " 0 22 variable)
    string(APPEND table "\n    ${what}${variable}${package}")
  endforeach()
  message(FATAL_ERROR "Hadal misses these; run tools/setup on Debian, or set the variable (or CMAKE_PREFIX_PATH):\n"
    "    what                      variable              Debian package${table}")
endif()
