// SPDX-License-Identifier: MIT
// Operators new and delete of a C++ program under the drop-in: all forms, failure, new handlers.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <hostheap/hostheap.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            std::_Exit(1);                                                                         \
        }                                                                                          \
    } while (0)

static bool
is_block(const void *address)
{
    static auto owns = reinterpret_cast<hh_status (*)(const void *, hh_block_info *)>(
        dlsym(RTLD_DEFAULT, "hh_owns"));
    CHECK(owns != nullptr);
    hh_block_info info;
    CHECK(owns(address, &info) == HH_OK);
    return info.heap != nullptr && info.live && info.base == address;
}

// Of the process; 0: none.
static hh_status
set_limit(std::size_t size_bytes)
{
    static auto set = reinterpret_cast<hh_status (*)(std::size_t, std::size_t)>(
        dlsym(RTLD_DEFAULT, "hh_set_memory_limits"));
    CHECK(set != nullptr);
    return set(0, size_bytes);
}

struct alignas(256) Wide {
    char bytes[300];
};

static void
all_forms_serve_from_this_heap()
{
    for (std::size_t size = 0; size < 100000; size = size * 2 + 1) {
        void *block = ::operator new(size);
        CHECK(is_block(block));
        ::operator delete(block);
        block = ::operator new[](size);
        ::operator delete[](block, size);
        block = ::operator new(size, std::nothrow);
        CHECK(is_block(block));
        ::operator delete(block, std::nothrow);
        block = ::operator new[](size, std::nothrow);
        ::operator delete[](block, std::nothrow);
        for (std::size_t align = 1; align <= 8192; align *= 2) {
            std::align_val_t alignment{align};
            block = ::operator new(size, alignment);
            CHECK(is_block(block) && reinterpret_cast<std::uintptr_t>(block) % align == 0);
            ::operator delete(block, alignment);
            block = ::operator new[](size, alignment);
            ::operator delete[](block, size, alignment);
            block = ::operator new(size, alignment, std::nothrow);
            ::operator delete(block, alignment, std::nothrow);
            block = ::operator new[](size, alignment, std::nothrow);
            ::operator delete[](block, alignment, std::nothrow);
            block = ::operator new(size, alignment);
            ::operator delete(block, size, alignment);
            block = ::operator new[](size, alignment);
            ::operator delete[](block, alignment);
        }
    }
    auto wide = std::make_unique<Wide[]>(10);
    CHECK(reinterpret_cast<std::uintptr_t>(wide.get()) % 256 == 0);
    delete[] new std::string[20];
}

static std::size_t volatile too_large = SIZE_MAX / 2;
static void *volatile given; // what must not have been given
static int handler_calls;

static void
failure_throws_bad_alloc()
{
    int caught = 0;
    try {
        given = ::operator new(too_large);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        given = ::operator new[](too_large, std::align_val_t{64});
    } catch (const std::bad_alloc &) {
        caught++;
    }
    CHECK(caught == 2);
    CHECK(::operator new(too_large, std::nothrow) == nullptr);
    CHECK(::operator new (too_large, std::align_val_t{64}, std::nothrow) == nullptr);
}

static void
handler_gives_up_at_third_call()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static void
failure_calls_the_new_handler_until_it_is_gone()
{
    std::set_new_handler(handler_gives_up_at_third_call);
    bool caught = false;
    try {
        given = ::operator new(too_large);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught && handler_calls == 3);
    std::set_new_handler([] { throw 42; });
    int thrown = 0;
    try {
        given = ::operator new(too_large);
    } catch (int value) {
        thrown = value;
    }
    CHECK(thrown == 42);
    std::set_new_handler(nullptr);
}

// What a program does that keeps something in reserve.
static void
handler_gives_way()
{
    handler_calls++;
    CHECK(set_limit(0) == HH_OK);
}

static void
what_a_new_handler_makes_room_for_is_served()
{
    constexpr std::size_t limit_bytes = 32 << 20, wanted_bytes = 64 << 20;
    std::set_new_handler(handler_gives_way);
    handler_calls = 0;
    CHECK(set_limit(limit_bytes) == HH_OK);
    void *block = ::operator new(wanted_bytes);
    CHECK(handler_calls == 1 && is_block(block));
    ::operator delete(block);
    CHECK(set_limit(limit_bytes) == HH_OK);
    block = ::operator new (wanted_bytes, std::align_val_t{64});
    CHECK(handler_calls == 2 && is_block(block));
    ::operator delete (block, std::align_val_t{64});
    std::set_new_handler(nullptr);
}

static thread_local std::vector<std::string> thread_words(3,
                                                          "a word that needs a block of its own");

static void
containers_in_threads_live_and_die()
{
    std::vector<std::thread> threads;
    for (int t = 0; t < 20; t++) {
        threads.emplace_back([t] {
            std::map<int, std::string> words;
            for (int i = 0; i < 2000; i++)
                words[i * 7919 % 1000] = std::string(static_cast<std::size_t>(i % 200), 'x');
            thread_words.push_back(words[t]);
        });
    }
    for (auto &thread : threads)
        thread.join();
}

int
main()
{
    all_forms_serve_from_this_heap();
    failure_throws_bad_alloc();
    failure_calls_the_new_handler_until_it_is_gone();
    what_a_new_handler_makes_room_for_is_served();
    containers_in_threads_live_and_die();
    return 0;
}
