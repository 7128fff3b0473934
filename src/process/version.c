// SPDX-License-Identifier: MIT
// process/version.c - hh_version: the version the public header was compiled with.

#include <hostheap/hostheap.h>

#define VERSION_TEXT_OF(number) #number
#define VERSION_TEXT(number) VERSION_TEXT_OF(number)

const char *
hh_version(void)
{
    return VERSION_TEXT(HOSTHEAP_VERSION_MAJOR) "." VERSION_TEXT(
        HOSTHEAP_VERSION_MINOR) "." VERSION_TEXT(HOSTHEAP_VERSION_PATCH);
}
