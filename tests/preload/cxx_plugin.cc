// SPDX-License-Identifier: MIT
// A C++ library for a program that has no C++ runtime of its own.
#include <cstddef>
#include <cstdint>
#include <new>

static std::size_t volatile too_large = SIZE_MAX / 2;

// 1: operator new threw std::bad_alloc, and it was caught here.
extern "C" int
plugin_catch()
{
    try {
        ::operator delete(::operator new(too_large));
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}
