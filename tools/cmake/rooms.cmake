# SPDX-License-Identifier: Apache-2.0
# One static library per room of src/: target hadal_<room>, alias hadal::<room>, include prefix "<room>/...".
# The permitted includes are checked by tools/check_rooms.py; here stand only the link dependencies.

add_library(hadal_flags INTERFACE)
target_compile_options(hadal_flags INTERFACE -Wall -Wextra -Wno-unknown-pragmas)
# GCC 12 warns of "literal" + std::string (its bug 105651).
target_compile_options(hadal_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
# Sums are written in the order in which they are to be done; contraction would let the compiler choose.
target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-O3>)
endif()
if(HADAL_NATIVE)
  include(CheckCXXCompilerFlag)
  target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
  check_cxx_compiler_flag(-mprefer-vector-width=512 HADAL_HAS_VECTOR_WIDTH)
  if(HADAL_HAS_VECTOR_WIDTH)
    target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-mprefer-vector-width=512>)
  endif()
endif()
# GCC 12.0 to 12.2 with AVX store wide constants such as {1, 1, 0, 0} as {1, 1, 1, 1} (its bug 108599); pieces of 128 bits
# are stored rightly. tests/unit/base/compiler_test.cpp looks for the fault.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12.3)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-mstore-max=128 HADAL_HAS_STORE_MAX)
  if(HADAL_HAS_STORE_MAX)
    target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-mmove-max=128>
                                                 $<$<COMPILE_LANGUAGE:CXX>:-mstore-max=128>)
  endif()
endif()
if(HADAL_SANITIZE)
  target_compile_options(hadal_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(hadal_flags INTERFACE -fsanitize=address,undefined)
endif()
target_include_directories(hadal_flags INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:include/hadal>)

set(HADAL_ROOMS "")

# hadal_room(NAME deps...): library of all sources below src/NAME (a room without sources is an interface).
function(hadal_room name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  if(sources)
    add_library(hadal_${name} STATIC ${sources})
    target_link_libraries(hadal_${name} PUBLIC hadal_flags ${ARGN})
  else()
    add_library(hadal_${name} INTERFACE)
    target_link_libraries(hadal_${name} INTERFACE hadal_flags ${ARGN})
  endif()
  add_library(hadal::${name} ALIAS hadal_${name})
  set_target_properties(hadal_${name} PROPERTIES EXPORT_NAME ${name})
  set(HADAL_ROOMS ${HADAL_ROOMS} ${name} PARENT_SCOPE)
endfunction()

# The source's revision, as it is when the build is configured.
find_package(Git QUIET)
set(HADAL_REVISION "")
if(GIT_FOUND AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
  execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty --abbrev=12 --exclude=*
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE HADAL_REVISION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT HADAL_REVISION)
  set(HADAL_REVISION unknown)
endif()
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/base/revision.cpp PROPERTIES
  COMPILE_DEFINITIONS "HADAL_VERSION=\"${PROJECT_VERSION}\";HADAL_REVISION=\"${HADAL_REVISION}\"")

hadal_room(base fmt::fmt spdlog::spdlog hadal_dep_xxhash)
hadal_room(deck hadal_base hadal_dep_toml)
hadal_room(arch hadal_deck nlohmann_json::nlohmann_json)
hadal_room(schedule hadal_base)
hadal_room(plan hadal_arch hadal_schedule)
hadal_room(data hadal_deck hadal_dep_pcre2 hadal_dep_xxhash nlohmann_json::nlohmann_json)
hadal_room(tensor hadal_base Kokkos::kokkos)
hadal_room(numerics hadal_tensor hadal_dep_dnnl hadal_dep_blas Kokkos::kokkoskernels)
if(HADAL_CUDA)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  add_library(hadal_numerics_cuda OBJECT ${PROJECT_SOURCE_DIR}/src/numerics/cuda/gemm.cu)
  target_include_directories(hadal_numerics_cuda PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(hadal_numerics_cuda PUBLIC CUDA::cublasLt CUDA::cudart)
endif()
hadal_room(comm hadal_tensor)
hadal_room(layers hadal_numerics hadal_arch)
hadal_room(model hadal_layers hadal_comm)
hadal_room(optim hadal_numerics hadal_comm hadal_arch hadal_deck hadal_dep_xxhash)
hadal_room(checkpoint hadal_tensor hadal_comm hadal_arch hadal_dep_hdf5 hadal_dep_xxhash nlohmann_json::nlohmann_json)
hadal_room(convert hadal_checkpoint hadal_data)
hadal_room(infer hadal_model hadal_data hadal_checkpoint)
hadal_room(train hadal_model hadal_optim hadal_data hadal_schedule hadal_checkpoint)
hadal_room(eval hadal_infer)
hadal_room(app hadal_convert hadal_train hadal_infer hadal_eval hadal_plan CLI11::CLI11)

if(EXISTS ${PROJECT_SOURCE_DIR}/src/app/main.cpp)
  add_executable(hadal ${PROJECT_SOURCE_DIR}/src/app/main.cpp)
  target_link_libraries(hadal PRIVATE hadal_app)
  set_target_properties(hadal PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endif()
