/* A stand-in for nvidia-smi: it lists, through NVML, the GPUs that a program started here can see.

       nvidia-smi            one line a GPU with its memory and utilisation
       nvidia-smi -L         as the real one prints it: GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-…), and below
                             a GPU its MIG devices */

#include <stdio.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned gpu, memory; } utilization_info;

const char *nvmlErrorString(int);
int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *, unsigned);
int nvmlDeviceGetCount_v2(unsigned *);
int nvmlDeviceGetHandleByIndex_v2(unsigned, const void **);
int nvmlDeviceGetUUID(const void *, char *, unsigned);
int nvmlDeviceGetName(const void *, char *, unsigned);
int nvmlDeviceGetMemoryInfo(const void *, memory_info *);
int nvmlDeviceGetUtilizationRates(const void *, utilization_info *);
int nvmlDeviceGetMaxMigDeviceCount(const void *, unsigned *);
int nvmlDeviceGetMigDeviceHandleByIndex(const void *, unsigned, const void **);

static void list_slices(const void *gpu)
{
    const void *handle;
    char uuid[96], name[96];
    unsigned most = 0;

    nvmlDeviceGetMaxMigDeviceCount(gpu, &most);
    for (unsigned index = 0; index < most; index++)
        if (!nvmlDeviceGetMigDeviceHandleByIndex(gpu, index, &handle)
            && !nvmlDeviceGetName(handle, name, sizeof name) && !nvmlDeviceGetUUID(handle, uuid, sizeof uuid))
            printf("  MIG %-11s Device %2u: (UUID: %s)\n", strstr(name, " MIG ") + 5, index, uuid);
}

static int list(unsigned index)
{
    const void *handle;
    char uuid[96], name[96];
    int error;

    if ((error = nvmlDeviceGetHandleByIndex_v2(index, &handle))
        || (error = nvmlDeviceGetName(handle, name, sizeof name))
        || (error = nvmlDeviceGetUUID(handle, uuid, sizeof uuid)))
        return error;
    printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
    list_slices(handle);
    return 0;
}

static int show(unsigned index)
{
    const void *handle;
    char name[96];
    memory_info memory;
    utilization_info use = {0};
    int error;

    if ((error = nvmlDeviceGetHandleByIndex_v2(index, &handle))
        || (error = nvmlDeviceGetName(handle, name, sizeof name))
        || (error = nvmlDeviceGetMemoryInfo(handle, &memory)))
        return error;
    /* A GPU with MIG on tells none. */
    nvmlDeviceGetUtilizationRates(handle, &use);
    printf("%2u  %-32s %7lluMiB / %7lluMiB  %3u%%\n", index, name, memory.used >> 20, memory.total >> 20, use.gpu);
    return 0;
}

int main(int argc, char **argv)
{
    int listing = argc == 2 && !strcmp(argv[1], "-L");
    unsigned count = 0;
    char driver[80] = "";
    int error;

    if (argc > 1 && !listing) {
        fprintf(stderr, "This stand-in of nvidia-smi knows -L and nothing else.\n");
        return 2;
    }
    if ((error = nvmlInit_v2()) || (error = nvmlDeviceGetCount_v2(&count))
        || (error = nvmlSystemGetDriverVersion(driver, sizeof driver))) {
        printf("NVIDIA-SMI has failed: %s\n", nvmlErrorString(error));
        return error;
    }
    if (!listing)
        printf("NVIDIA-SMI (stand-in)  Driver Version: %s\n", driver);
    for (unsigned index = 0; index < count; index++)
        if ((error = listing ? list(index) : show(index)))
            printf("Unable to determine the device handle for GPU %u: %s\n", index, nvmlErrorString(error));
    nvmlShutdown();
    return error;
}
