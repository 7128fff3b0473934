// SPDX-License-Identifier: MIT
// genmc/checker/ucontext.h - what src names.
#ifndef HH_GENMC_UCONTEXT_H
#define HH_GENMC_UCONTEXT_H
enum { REG_ERR = 0 };
typedef struct {
    struct {
        long gregs[1];
    } uc_mcontext;
} ucontext_t;
#endif
