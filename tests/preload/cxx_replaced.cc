// SPDX-License-Identifier: MIT
// A program that replaces operator new(size) and operator delete(block) alone, with a head of its own
// before each block, as leak finders do: all other forms end in these two.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

static const std::size_t head_bytes = 32;
static long live;

void *
operator new(std::size_t size)
{
    char *block = static_cast<char *>(std::malloc(size + head_bytes));
    if (block == nullptr)
        throw std::bad_alloc();
    live++;
    return block + head_bytes;
}

void
operator delete(void *block) noexcept
{
    if (block == nullptr)
        return;
    live--;
    std::free(static_cast<char *>(block) - head_bytes);
}

struct Small {
    long words[5];
};

struct Large {
    char bytes[3 << 20];
};

// The object is used where the compiler can not see it, so that no pair is left out.
template <typename T>
static T *
seen(T *object)
{
    asm volatile("" : : "r"(object) : "memory");
    return object;
}

int
main()
{
    for (int turn = 0; turn < 1000; turn++) {
        delete seen(new Small);
        delete seen(new (std::nothrow) Small);
        delete[] seen(new int[10]);
        delete[] seen(new (std::nothrow) int[10]);
        ::operator delete(seen(::operator new(64, std::nothrow)));
        delete seen(static_cast<Small *>(nullptr));
    }
    delete seen(new Large);
    delete seen(new (std::nothrow) Large);
    std::vector<int> numbers{3, 1, 2};
    std::stable_sort(numbers.begin(), numbers.end()); // its buffer comes from the nothrow form
    std::vector<int>().swap(numbers);
    if (live != 0)
        std::fprintf(stderr, "%ld objects live\n", live);
    return live != 0;
}
