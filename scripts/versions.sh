# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Every version that the project pins, and nothing else.

MINIMUM_CMAKE=3.25
MINIMUM_GXX=12
MINIMUM_TORCH=2.11

CUDA_VERSION=13.0 # what the torch package is built with; nvcc must be of the same release
TORCH_PACKAGES=(torch==2.11.0)
NVCC_PACKAGES=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 # nvcc refuses the headers of another release
)
# For the scripts and for the tests written in Python.
PYTHON_PACKAGES=(numpy==2.4.6 safetensors==0.8.0 sentencepiece==0.2.3 tokenizers==0.23.3)
# Only with setup.sh --dev: for the comparison with Hugging Face, scripts/bench_hf.py, and what vLLM reads a quantised
# cache's config with, tests/cli/test_exporters.py.
DEVELOPER_PYTHON_PACKAGES=(transformers==5.17.0 compressed-tensors==0.20.1)
