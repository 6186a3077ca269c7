/* A machine's clock that somebody sets, and time that passes, for the programs that load this library
   (LD_PRELOAD).

   $SET_CLOCK names a file of two numbers, as this machine writes a long: by how many seconds the clock is ahead
   now, and how many have passed that nobody waited for, which CLOCK_BOOTTIME shows as well. It is mapped when
   the program starts, so a program that gives up its rights reads it as before, and every program sees a change
   at once. CLOCK_BOOTTIME is an hour ahead besides, so that no program takes the machine for one that has just
   booted; nothing else is changed, sleeps and timers least of all: libfaketime, which would do the rest too,
   makes each time.sleep() of Python 3.11 fail with EINVAL. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *ahead;
enum { SET, PASSED, NUMBERS };

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("SET_CLOCK");
    int file = open(name ? name : "", O_RDONLY | O_CLOEXEC);
    void *mapped = mmap(NULL, NUMBERS * sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    static const char complaint[] = "set_clock: the file that SET_CLOCK names cannot be mapped\n";

    if (mapped == MAP_FAILED) {
        (void)!write(2, complaint, strlen(complaint));
        _exit(127);
    }
    close(file);
    ahead = mapped;
}

int clock_gettime(clockid_t which, struct timespec *found)
{
    int answer = (int)syscall(SYS_clock_gettime, which, found);

    if (answer == 0 && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        found->tv_sec += ahead[SET] + ahead[PASSED];
    if (answer == 0 && which == CLOCK_BOOTTIME)
        found->tv_sec += 3600 + (ahead ? ahead[PASSED] : 0);
    return answer;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}
