// SPDX-License-Identifier: Apache-2.0
#pragma once

// Marks a hot host loop that is compiled once per vector width; the loader picks the widest that
// the processor has.  Without contraction and with fixed summation orders every width gives the
// same bits.  Sanitizers cannot run the loader's choice, so they get the plain loop.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KVCALIB_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KVCALIB_VECTORISED
#endif
