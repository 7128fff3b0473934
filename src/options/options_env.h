// SPDX-License-Identifier: MIT
/*
 * options/options_env.h - one variable of the environment, also before libc has set it up.
 *
 * Layer: options. May include: base, os.
 *
 * The first malloc of a preloaded heap comes from the dynamic loader, before libc's `environ` points
 * anywhere. The variable is then read from /proc/self/environ. Nothing here allocates.
 */
#ifndef HHI_OPTIONS_OPTIONS_ENV_H
#define HHI_OPTIONS_OPTIONS_ENV_H

#include "base/compiler.h"

enum hhi_env_result { HHI_ENV_ABSENT, HHI_ENV_FOUND, HHI_ENV_TOO_LONG };

// Copies the value of name, NUL-terminated. Absent in a process that runs with privileges its
// caller does not have. errno is kept.
enum hhi_env_result hhi_options_read_environment(const char *name, char *value,
                                                 size_t capacity_bytes);

// The same from a file in the format of /proc/self/environ.
enum hhi_env_result hhi_options_read_environment_file(const char *path, const char *name,
                                                      char *value, size_t capacity_bytes);

#endif
