# PyTorch's part for CPUs, of a flavour with CUDA or without. Not from its own CMake package: in a flavour with CUDA that
# stops where there is no toolkit. Sets TORCH_LIBRARIES and TORCH_INSTALL_PREFIX, as the package does.

find_path(Torch_DIR TorchConfigVersion.cmake HINTS ${CMAKE_PREFIX_PATH} ENV CMAKE_PREFIX_PATH
          PATH_SUFFIXES Torch share/cmake/Torch)
set(PACKAGE_FIND_VERSION 2.11)
include(${Torch_DIR}/TorchConfigVersion.cmake OPTIONAL)
if(NOT PACKAGE_VERSION_COMPATIBLE)
  message(FATAL_ERROR "PyTorch 2.11 or later not found: scripts/setup.sh installs one, and "
    "CMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)') names one that is there")
endif()
get_filename_component(TORCH_INSTALL_PREFIX ${Torch_DIR}/../../.. ABSOLUTE)

foreach(library c10 torch_cpu)
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES
    IMPORTED_LOCATION ${TORCH_INSTALL_PREFIX}/lib/lib${library}.so
    INTERFACE_INCLUDE_DIRECTORIES ${TORCH_INSTALL_PREFIX}/include)
endforeach()
set(TORCH_LIBRARIES torch_cpu c10)
set(CMAKE_INSTALL_RPATH ${TORCH_INSTALL_PREFIX}/lib)  # CMake itself gives none in the source tree, where .venv is
