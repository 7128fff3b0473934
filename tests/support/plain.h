// SPDX-License-Identifier: MIT
/*
 * support/plain.h - checks for programs that run under the drop-in. They end with 0, 1 or 77.
 */
#ifndef HH_TESTS_SUPPORT_PLAIN_H
#define HH_TESTS_SUPPORT_PLAIN_H

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hostheap/hostheap.h>

#define EXIT_SKIPPED 77

#define check(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: not so: %s (errno %d)\n", __FILE__, __LINE__, __func__,    \
                    #condition, errno);                                                            \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/*
 * Define a static function of this type that calls the drop-in's function of that name, which a
 * program is not linked with. The test ends when it does not run on the drop-in.
 */
#define PLAIN_FUNCTION(result, name, parameters, arguments)                                        \
    static result plain_##name parameters                                                          \
    {                                                                                              \
        static result(*function) parameters;                                                       \
        if (function == NULL) {                                                                    \
            void *symbol = dlsym(RTLD_DEFAULT, #name);                                             \
            check(symbol != NULL);                                                                 \
            memcpy(&function, &symbol, sizeof function);                                           \
        }                                                                                          \
        return function arguments;                                                                 \
    }

// The drop-in's hh_owns; ends the test when the program does not run on it.
static inline void
plain_owns(const void *address, hh_block_info *info)
{
    static hh_status (*owns)(const void *, hh_block_info *);
    if (owns == NULL) {
        void *symbol = dlsym(RTLD_DEFAULT, "hh_owns");
        check(symbol != NULL);
        memcpy(&owns, &symbol, sizeof owns);
    }
    check(owns(address, info) == HH_OK);
}

// True if address is the start of a live block of this heap.
static inline int
plain_is_block(const void *address)
{
    hh_block_info info;
    plain_owns(address, &info);
    return info.heap != NULL && info.live && info.base == address;
}

#endif
