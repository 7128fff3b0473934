// SPDX-License-Identifier: MIT
/* Opens the C++ library it is given, privately, and lets it catch a failing operator new. */
#include "support/plain.h"

int
main(int argc, char **argv)
{
    check(argc == 2);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    check(library != NULL);
    int (*try_it)(void);
    void *symbol = dlsym(library, "plugin_catch");
    memcpy(&try_it, &symbol, sizeof try_it);
    check(try_it() == 1);
    return 0;
}
