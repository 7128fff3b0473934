// SPDX-License-Identifier: MIT
/* A library that allocates when it is opened, when it is used and when it is closed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *plugin_make(int number);

static char *kept;
static __thread char *per_thread;

__attribute__((constructor)) static void
plugin_open(void)
{
    kept = malloc(10000);
    memset(kept, 1, 10000);
}

__attribute__((destructor)) static void
plugin_close(void)
{
    free(kept);
    free(per_thread);
}

__attribute__((visibility("default"))) char *
plugin_make(int number)
{
    char *text = malloc(64);
    per_thread = realloc(per_thread, 100);
    snprintf(text, 64, "%d", number);
    return text;
}
