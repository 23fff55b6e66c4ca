// What a compiled kernel asks of the runtime.

#pragma once

#include <cstddef>

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};

struct twin_exchange {
    unsigned took_part, lane;
    const unsigned long long* values;  // of each lane
};

using twin_entry = void (*)(void*);

extern Dim threadIdx, blockIdx, blockDim, gridDim;

extern "C" {
void twin_fail(const char* format, ...);
[[noreturn]] void twin_stop();
int twin_barrier(int site, int line, int vote);
void twin_warp(int site, int line, unsigned mask, unsigned long long value, twin_exchange* out);
int twin_run(twin_entry f, void* argument, const unsigned* dims, void* shared, size_t shared_size, int flush,
             int reverse);
const char* twin_message();
}
