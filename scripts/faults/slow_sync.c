/* A slow disk for one process: with LD_PRELOAD each fsync and fdatasync takes 20 ms more. Who calls vfork waits for its
 * child as for a disk (uninterruptible, state D in /proc), which a sleep would not be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct timespec MORE = {0, 20 * 1000 * 1000};

static void wait_as_for_a_disk(void) {
    pid_t child = vfork();
    if (child == 0) {
        nanosleep(&MORE, 0);
        _exit(0);
    }
    if (child > 0) waitpid(child, 0, 0);
}

int fsync(int file) {
    wait_as_for_a_disk();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    wait_as_for_a_disk();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
