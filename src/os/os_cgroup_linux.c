// SPDX-License-Identifier: MIT
// os/os_cgroup_linux.c - see os_cgroup_linux.h.
#include "os/os_cgroup_linux.h"

#include <fcntl.h>
#include <string.h>

enum { NAME_BYTES = 1024 }; // of a group inside its hierarchy

// What the search needs of a mount.
struct cgroup_mount {
    const char *root;  // which part of the hierarchy is mounted
    const char *point; // where
};

// Appends; false and unchanged if it does not fit.
static bool
group_append(struct hhi_cgroup *group, const char *text)
{
    size_t length = strlen(text);
    if (length >= sizeof group->path - group->length)
        return false;
    memcpy(group->path + group->length, text, length + 1);
    group->length += length;
    return true;
}

static void
group_cut(struct hhi_cgroup *group, size_t length)
{
    group->length = length;
    group->path[length] = '\0';
}

// Opens root + name through the buffer of group, which is left empty.
static bool
proc_open(struct hhi_cgroup *group, const char *root, const char *name, struct hhi_kept_file *file)
{
    group_cut(group, 0);
    bool opened = group_append(group, root) && group_append(group, name) &&
                  hhi_kept_file_open(file, group->path, O_RDONLY);
    group_cut(group, 0);
    return opened;
}

static bool
list_has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length) {
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

// A line "id:controllers:path" of /proc/self/cgroup: the path if it is of the wanted kind.
static const char *
cgroup_line_path(char *line, bool v1)
{
    char *controllers = strchr(line, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL || path[1] != '/')
        return NULL;
    *path++ = '\0';
    controllers++;
    if (v1)
        return list_has_word(controllers, "memory") ? path : NULL;
    return strncmp(line, "0:", 2) == 0 && *controllers == '\0' ? path : NULL;
}

// The name of the group inside its hierarchy, without a slash at the end: "" is the top.
static bool
cgroup_find_name(struct hhi_cgroup *group, const char *root, bool v1, char name[NAME_BYTES])
{
    struct hhi_kept_file file;
    struct hhi_kept_lines lines;
    bool found = false;
    if (!proc_open(group, root, "/proc/self/cgroup", &file))
        return false;
    hhi_kept_lines_start(&lines, file.descriptor);
    for (char *line; !found && (line = hhi_kept_lines_next(&lines)) != NULL;) {
        const char *path = cgroup_line_path(line, v1);
        size_t length = path != NULL ? strlen(path) : NAME_BYTES;
        if (length >= NAME_BYTES)
            continue;
        memcpy(name, path, length + 1);
        if (length == 1)
            name[0] = '\0';
        found = true;
    }
    hhi_kept_file_close(&file);
    return found;
}

// Octal escapes of mountinfo ("\040" is a space), in place.
static void
mount_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

// Cuts the next word off *rest; NULL at the end.
static char *
mount_word(char **rest)
{
    char *word = *rest;
    if (word == NULL || *word == '\0')
        return NULL;
    char *space = strchr(word, ' ');
    *rest = space != NULL ? space + 1 : NULL;
    if (space != NULL)
        *space = '\0';
    return word;
}

/*
 * A line of mountinfo is "id parent device root point options [tag...] - type source super". False
 * if it is no mount of the wanted hierarchy.
 */
static bool
mount_parse(char *line, bool v1, struct cgroup_mount *mount)
{
    char *rest = line;
    char *word[6];
    for (unsigned i = 0; i < 6; i++) {
        word[i] = mount_word(&rest);
        if (word[i] == NULL)
            return false;
    }
    for (char *tag = mount_word(&rest); tag == NULL || strcmp(tag, "-") != 0;) {
        if (tag == NULL)
            return false;
        tag = mount_word(&rest);
    }
    const char *type = mount_word(&rest);
    const char *source = mount_word(&rest);
    const char *super = mount_word(&rest);
    if (type == NULL || source == NULL || super == NULL ||
        strcmp(type, v1 ? "cgroup" : "cgroup2") != 0 || (v1 && !list_has_word(super, "memory")))
        return false;
    mount_unescape(word[3]);
    mount_unescape(word[4]);
    mount->root = strcmp(word[3], "/") == 0 ? "" : word[3];
    mount->point = word[4];
    return true;
}

// Where name goes on behind the mounted part; NULL if it is not in there.
static const char *
mount_remainder(const char *mount_root, const char *name)
{
    size_t length = strlen(mount_root);
    if (strncmp(name, mount_root, length) != 0 || (name[length] != '/' && name[length] != '\0'))
        return NULL;
    return name + length;
}

static bool
group_place(struct hhi_cgroup *group, const char *root, const char *point, const char *remainder)
{
    group_cut(group, 0);
    if (!group_append(group, root) || !group_append(group, point))
        return false;
    group->mount_length = group->length;
    return remainder == NULL || group_append(group, remainder);
}

bool
hhi_cgroup_find(const char *root, bool v1, struct hhi_cgroup *group)
{
    char name[NAME_BYTES];
    struct hhi_kept_file file;
    struct hhi_kept_lines lines;
    size_t best_length = 0; // 1 + length of the best mount's root; 0 = none yet
    if (!cgroup_find_name(group, root, v1, name) ||
        !proc_open(group, root, "/proc/self/mountinfo", &file))
        return false;
    bool holds = false; // whether the best one holds the name
    hhi_kept_lines_start(&lines, file.descriptor);
    for (char *line; (line = hhi_kept_lines_next(&lines)) != NULL;) {
        struct cgroup_mount mount;
        if (!mount_parse(line, v1, &mount))
            continue;
        const char *remainder = mount_remainder(mount.root, name);
        size_t length = strlen(mount.root) + 1;
        if (remainder == NULL ? best_length != 0 : holds && length <= best_length)
            continue;
        bool placed = group_place(group, root, mount.point, remainder);
        holds = placed && remainder != NULL;
        best_length = placed ? length : 0;
    }
    hhi_kept_file_close(&file);
    return best_length != 0;
}

bool
hhi_cgroup_up(struct hhi_cgroup *group)
{
    if (group->length <= group->mount_length)
        return false;
    size_t slash = group->length - 1;
    while (slash > group->mount_length && group->path[slash] != '/')
        slash--;
    group_cut(group, slash);
    return true;
}

bool
hhi_cgroup_open(struct hhi_cgroup *group, const char *name, int access, struct hhi_kept_file *file)
{
    size_t length = group->length;
    bool opened = group_append(group, "/") && group_append(group, name) &&
                  hhi_kept_file_open(file, group->path, access);
    group_cut(group, length);
    if (!opened)
        hhi_kept_file_init(file);
    return opened;
}

uint64_t
hhi_cgroup_fingerprint(const char *root)
{
    struct hhi_cgroup scratch;
    char name[NAME_BYTES];
    uint64_t fingerprint = 0;
    for (int v1 = 0; v1 <= 1; v1++) {
        if (!cgroup_find_name(&scratch, root, v1 != 0, name))
            continue;
        if (fingerprint == 0)
            fingerprint = 0xCBF29CE484222325u; // FNV-1a
        for (const char *at = name; *at != '\0'; at++)
            fingerprint = (fingerprint ^ (unsigned char)*at) * 0x100000001B3u;
        fingerprint = (fingerprint ^ (unsigned)v1) * 0x100000001B3u;
    }
    return fingerprint;
}
