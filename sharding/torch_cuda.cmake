# PyTorch with CUDA, and NCCL, from its own CMake package, which sets TORCH_LIBRARIES and TORCH_INSTALL_PREFIX.

# It warns of the first, probes for a GPU without the second, looks for NVTX 2 without the third, and for a library
# that it does not ship without the fourth.
unset(CMAKE_CUDA_ARCHITECTURES)
unset(CMAKE_CUDA_ARCHITECTURES CACHE)
set(TORCH_CUDA_ARCH_LIST "8.0;9.0")
set(USE_SYSTEM_NVTX ON)
set(kineto_LIBRARY c10)
find_package(Torch 2.11 QUIET CONFIG)
if(NOT Torch_FOUND OR NOT TARGET torch_cuda)
  message(FATAL_ERROR "PyTorch 2.11 or later with CUDA not found: scripts/setup.sh installs one, and "
    "CMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)') names one that is there; "
    "KVCALIB_CUDA=OFF builds for CPUs alone")
endif()

# NCCL as PyTorch loads it: the wheel's before any other.
get_filename_component(wheels ${TORCH_INSTALL_PREFIX}/../nvidia ABSOLUTE)
find_path(NCCL_INCLUDE_DIR nccl.h PATHS ${wheels}/nccl/include NO_DEFAULT_PATH)
find_path(NCCL_INCLUDE_DIR nccl.h)
find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl PATHS ${wheels}/nccl/lib NO_DEFAULT_PATH)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2)
if(NOT NCCL_INCLUDE_DIR OR NOT NCCL_LIBRARY)
  message(FATAL_ERROR "NCCL not found beside PyTorch: install libnccl-dev or nvidia-nccl-cu13")
endif()

# The CUDA runtime that PyTorch loads goes before the toolkit's. CMake itself gives what it installs no folder inside the
# source tree, where .venv is.
file(GLOB cuda_wheel ${wheels}/cu[0-9]*/lib)
get_filename_component(nccl_folder ${NCCL_LIBRARY} DIRECTORY)
set(CMAKE_BUILD_RPATH ${cuda_wheel})
set(CMAKE_INSTALL_RPATH ${cuda_wheel} ${TORCH_INSTALL_PREFIX}/lib ${nccl_folder})
