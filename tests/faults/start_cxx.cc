// SPDX-License-Identifier: MIT
// A C++ program under the drop-in, for faults_start.c: new, containers, what is made before main.
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "faults/start.h"

static void
use_objects()
{
    std::vector<std::string *> words;
    for (unsigned i = 0; i < 200; i++) {
        std::string *word = nullptr;
        try {
            word = new std::string(i * 40 + 1, 'x');
            words.push_back(word);
        } catch (const std::bad_alloc &) {
            start_served_or(false, true);
            delete word;
        }
    }
    for (std::string *word : words) {
        start_check((*word)[0] == 'x' && word->back() == 'x');
        delete word;
    }
    void *block = ::operator new (300000, std::align_val_t{4096}, std::nothrow);
    start_served_or(block != nullptr, true);
    ::operator delete (block, std::align_val_t{4096});
}

// libstdc++ keeps memory for exceptions from the start on. If it got none then, it can not throw where
// there is none, and ends the program: no fault of the drop-in's, which has to serve again later.
static void
no_exception()
{
    void *block = std::malloc(200);
    start_check(block == nullptr && start_refused() > 0);
    start_grant();
    use_objects();
    _exit(0);
}

// Before main.
static const bool used_early = (std::set_terminate(no_exception), use_objects(), true);

int
main()
{
    start_check(used_early);
    for (unsigned round = 0; round < 2; round++) {
        use_objects();
        start_grant();
    }
    return 0;
}
