# LibTorch out of the PyPI wheel, without find_package(Torch): imported targets for exactly what we link.
#   torch::headers  torch::cpu  torch::cuda (PHALANX_CUDA)
# PHALANX_TORCH_ROOT names the folder .../site-packages/torch; the default is what tools/bootstrap fetched.
set(PHALANX_TORCH_ROOT "$ENV{PHALANX_TORCH_ROOT}" CACHE PATH "site-packages/torch of the wheel")
if(NOT PHALANX_TORCH_ROOT)
  set(PHALANX_TORCH_ROOT "${CMAKE_SOURCE_DIR}/.deps/python/torch")
endif()
set(PHALANX_TORCH_VERSION 2.11.0)

if(NOT EXISTS "${PHALANX_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch: got no ${PHALANX_TORCH_ROOT}/lib/libtorch_cpu.so; needed LibTorch "
                      "${PHALANX_TORCH_VERSION}. Fix: run tools/bootstrap, or set PHALANX_TORCH_ROOT.")
endif()
set(_torch_version "")
foreach(part MAJOR MINOR PATCH)
  file(STRINGS "${PHALANX_TORCH_ROOT}/include/torch/headeronly/version.h" _line REGEX "define TORCH_VERSION_${part} ")
  string(REGEX MATCH "[0-9]+$" _number "${_line}")
  list(APPEND _torch_version "${_number}")
endforeach()
list(JOIN _torch_version "." _torch_version)
if(NOT _torch_version STREQUAL PHALANX_TORCH_VERSION)
  message(FATAL_ERROR "LibTorch: got version ${_torch_version} in ${PHALANX_TORCH_ROOT}; needed "
                      "${PHALANX_TORCH_VERSION}. Fix: unset PHALANX_TORCH_ROOT and run tools/bootstrap.")
endif()

function(_phalanx_torch_library target file)
  add_library(${target} SHARED IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${file}")
endfunction()

add_library(torch::headers INTERFACE IMPORTED GLOBAL)
# -idirafter: the wheel ships fmt 12, which would break the distribution's spdlog if it came first.
foreach(dir "${PHALANX_TORCH_ROOT}/include" "${PHALANX_TORCH_ROOT}/include/torch/csrc/api/include")
  target_compile_options(torch::headers INTERFACE "SHELL:-idirafter ${dir}")
endforeach()
# at::parallel_for is a header: without -fopenmp in our own objects it runs serially there. The wheel's libgomp, by full
# path, so that one process holds one OpenMP.
target_compile_options(torch::headers INTERFACE -fopenmp)
_phalanx_torch_library(torch::gomp "${PHALANX_TORCH_ROOT}/lib/libgomp.so.1")
_phalanx_torch_library(torch::c10 "${PHALANX_TORCH_ROOT}/lib/libc10.so")
_phalanx_torch_library(torch::torch_cpu "${PHALANX_TORCH_ROOT}/lib/libtorch_cpu.so")
add_library(torch::cpu INTERFACE IMPORTED GLOBAL)
target_link_libraries(torch::cpu INTERFACE torch::headers torch::torch_cpu torch::c10 torch::gomp Threads::Threads)

if(PHALANX_CUDA)
  # The wheels have no unversioned sonames, and torch's own RPATH does not serve our direct needs: full paths, own rpath.
  # Compile flags are those of the CPU build, so that the compiler cache serves both; code asks at::hasCUDA().
  set(_nvidia "${PHALANX_TORCH_ROOT}/../nvidia")
  _phalanx_torch_library(torch::torch_cuda "${PHALANX_TORCH_ROOT}/lib/libtorch_cuda.so")
  _phalanx_torch_library(torch::c10_cuda "${PHALANX_TORCH_ROOT}/lib/libc10_cuda.so")
  _phalanx_torch_library(nvidia::cudart "${_nvidia}/cu13/lib/libcudart.so.13")
  target_link_libraries(torch::cpu INTERFACE -Wl,--no-as-needed torch::torch_cuda torch::c10_cuda
                        -Wl,--as-needed nvidia::cudart)
  target_link_options(torch::cpu INTERFACE
    "-Wl,-rpath,${PHALANX_TORCH_ROOT}/lib:${_nvidia}/cu13/lib:${_nvidia}/nccl/lib" -Wl,--allow-shlib-undefined)
endif()
