// SPDX-License-Identifier: MIT
/*
 * preload/misuse_shapes.h - the shapes of misuse that preload_misuse runs, and what each must give.
 */
#ifndef HH_TESTS_PRELOAD_MISUSE_SHAPES_H
#define HH_TESTS_PRELOAD_MISUSE_SHAPES_H

#include <hostheap/hostheap.h>

struct misuse_shape {
    const char *name;
    void (*act)(void);
    const char *function; // as the report must name it
    int why;              // hh_bad_block; 0: a freed large block, whose range may be kept or gone
    int in_child;         // the deed happens in a child process of the process that runs it
};

extern const struct misuse_shape misuse_shapes[];
extern const int misuse_shape_count;

#endif
