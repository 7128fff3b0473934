// SPDX-License-Identifier: MIT
/*
 * fuzz/fuzz_replay.c - plays files, or all files of folders, to a fuzz target; no input is a failure.
 * usage: fuzz_<target>_replay FILE|FOLDER...
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECONDS = 240, INPUT_BYTES_MAX = 1 << 20 };

static unsigned inputs;

static void
play_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    if (file == NULL || data == NULL) {
        fprintf(stderr, "fuzz_replay: %s can not be read\n", path);
        exit(1);
    }
    size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    // In a block of exactly its size, so that a sanitizer sees what reads beyond.
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL)
        exit(1);
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    inputs++;
}

static void
play(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) {
        play_file(path);
        return;
    }
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        play(name);
    }
    if (folder != NULL)
        closedir(folder);
}

int
main(int argc, char **argv)
{
    alarm(SECONDS);
    for (int i = 1; i < argc; i++)
        play(argv[i]);
    printf("%u inputs\n", inputs);
    return inputs == 0;
}
