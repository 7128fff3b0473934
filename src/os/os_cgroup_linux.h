// SPDX-License-Identifier: MIT
/*
 * os/os_cgroup_linux.h - where the memory control group of the process lies in the file system.
 *
 * Layer: os. May include: base.
 *
 * /proc/self/cgroup names the group inside its hierarchy, /proc/self/mountinfo says where which
 * part of the hierarchy is mounted:
 *
 *   cgroup     4:memory:/pod/web                        v1; v2 is the line "0::/pod/web"
 *   mountinfo  .. /pod /sys/fs/cgroup/memory .. - cgroup cgroup rw,memory
 *   directory  /sys/fs/cgroup/memory + /web, up to /sys/fs/cgroup/memory
 *
 * Of several mounts the one that shows the most of the path's beginning counts. A mount that does
 * not hold the path at all (an older one in a container) stands for the group itself.
 *
 * Nothing here allocates, takes a lock or touches errno.
 * Source: contract ML-4.
 */
#ifndef HHI_OS_OS_CGROUP_LINUX_H
#define HHI_OS_OS_CGROUP_LINUX_H

#include "base/compiler.h"
#include "os/os_kept_file.h"

enum { HHI_CGROUP_PATH_BYTES = 2048 }; // a group with a longer path is not found

// A directory between the group and the mount.
struct hhi_cgroup {
    char path[HHI_CGROUP_PATH_BYTES];
    size_t length;
    size_t mount_length; // of the part that is the mount
};

// The process's own group. root is put before every path. False: there is none.
bool hhi_cgroup_find(const char *root, bool v1, struct hhi_cgroup *group);
// One level up; false at the mount.
bool hhi_cgroup_up(struct hhi_cgroup *group);
// A file of the group; access as hhi_kept_file_open.
bool hhi_cgroup_open(struct hhi_cgroup *group, const char *name, int access,
                     struct hhi_kept_file *file);
// A number that changes when the process is moved to another group; 0 if that can not be read.
uint64_t hhi_cgroup_fingerprint(const char *root);

#endif
