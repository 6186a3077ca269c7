/* A stand-in for libnvidia-ml.so.1, for machines without a GPU.

   Owns what NVML answers, read from a state file. Knows NVML's published C interface and nothing of the
   programs that ask: structures and numbers as in nvml.h (docs.nvidia.com/deploy/nvml-api).

   The state file is $NVML_STAND_IN_STATE, else the file `state` beside this library. It is looked at on
   every call, so that a test may change what is true under a running program: write another file, then
   rename it over the old one. Its lines, where every line after `gpu` is about that GPU:

       driver 550.54.15              nvmlSystemGetDriverVersion; also cuda 12040
       fails 9                       nvmlInit answers this error (9: driver not loaded)
       gpu GPU-6c1d…                 the next GPU, with its UUID; up to 16
       model NVIDIA H100 80GB HBM3
       minor 0                       its node is /dev/nvidia0
       memory 85520809984            bytes; also used
       utilization 97                per cent; also memory_utilization
       temperature 61                degrees Celsius; power 312000 (milliwatts)
       process 4711 1073741824       a pid and its bytes; up to 64; `graphics` the same, of one that draws;
                                     behind them the numbers of the GPU and compute instance that it is in
       lost 15                       every question about this GPU answers this error (15: GPU is lost)
       error 16                      every question but those after its name does (16: reset required)
       ecc 0                         uncorrectable memory errors; without the line not supported, as each below
       rows 1 0                      remapped rows: pending, failed; `pages 1` for pages that are pending
       recovery 1                    the GPU recovery action (1: reset)
       mig 0                         1: MIG mode is on, and utilization is not supported
       slice MIG-9a… 1g.10gb 7 0 4 10737418240 0
                                     a MIG device with its UUID and profile: GPU instance 7, compute instance 0,
                                     from memory slice 4 on (-1: only root may know), bytes, used; up to 8
       numa 0                        the NUMA node; `switch 0` the PCIe switch that it sits on
       nvlink switch 18              that many links to switches, or to the GPU whose UUID is there; up to 16
       xid 3 79                      the third event of this GPU was Xid 79; heard by who listened before it

   Loaded from /usr/lib/nvidia-stand-in, where the hook puts it inside containers, it shows only GPUs
   whose node exists there: what a program sees is then what the container was really given. */

#define _GNU_SOURCE
#include <features.h>
/* From 2.38 on glibc's headers turn strtol and sscanf into symbols of C23, which the containers' older
   glibc does not have. */
#undef __GLIBC_USE_C2X_STRTOL
#undef __GLIBC_USE_C23_STRTOL
#define __GLIBC_USE_C2X_STRTOL 0
#define __GLIBC_USE_C23_STRTOL 0
#include <dlfcn.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSIDE "/usr/lib/nvidia-stand-in"
#define GPUS 16
#define PROCESSES 64
#define SLICES 8
#define API __attribute__((visibility("default")))

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10
};
enum { UNTOLD = -1, RECOVERY_ACTION = 230, XID_EVENT = 8, LINKS = 16, POLL_MICROSECONDS = 50000 };

typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process_info;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_info_v2;
typedef struct { unsigned gpu, memory; } utilization_info;
typedef struct {
    char legacy_id[16]; unsigned domain, bus, device, pci_device_id, subsystem_id; char id[32];
} pci_info;

typedef struct { const void *device; unsigned long long type, data; unsigned gi, ci; } event_data;
typedef struct {
    unsigned field, scope;
    long long at, latency;
    unsigned type;
    int error;
    union { double d; unsigned u; unsigned long long l; } value;
} field_value;

typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long memory_mb;
} attributes_info;
typedef struct { const void *device; unsigned id, profile; struct { unsigned start, size; } placement; } instance_info;

typedef struct { char to[96]; unsigned count; } wires;
typedef struct { char uuid[96], profile[32]; unsigned gi, ci; int start; unsigned long long memory, used; } slice;

typedef struct {
    char uuid[96], model[96];
    unsigned minor, utilization, memory_utilization, temperature, power, processes, graphics, links, events;
    unsigned slices;
    int lost, error, ecc, row_pending, row_failed, page_pending, recovery, mig, numa, pci_switch, xid;
    unsigned long long memory, used;
    process_info process[PROCESSES], drawing[PROCESSES];
    wires link[LINKS];
    slice slice[SLICES];
} gpu;

typedef struct { char driver[80]; int cuda, fails; unsigned gpus; gpu gpu[GPUS]; } state;

/* Handles are places in this array: stable while the file changes under a program that holds one. */
static const char handles[GPUS], slice_handles[GPUS * SLICES];
static atomic_int users;
static __thread state now;
static __thread struct stat seen;
static __thread int filtered;
/* What the handle that was looked up last names of its GPU; NULL for all of it. */
static __thread const slice *part;

static const char *state_path(char *buffer)
{
    const char *given = getenv("NVML_STAND_IN_STATE");
    Dl_info self;
    char own[PATH_MAX];
    int length;

    filtered = 0;
    if (given)
        return given;
    if (!dladdr(handles, &self) || !realpath(self.dli_fname, own))
        return "";
    *strrchr(own, '/') = 0;
    filtered = strcmp(own, INSIDE) == 0;
    length = snprintf(buffer, PATH_MAX, "%s/state", own);
    return length < PATH_MAX ? buffer : "";
}

static void read_process(process_info *p, const char *value)
{
    *p = (process_info){.gi = UINT_MAX, .ci = UINT_MAX};
    sscanf(value, "%u %llu %u %u", &p->pid, &p->used, &p->gi, &p->ci);
}

static void read_gpu_line(gpu *g, const char *key, const char *value)
{
    if (!strcmp(key, "model")) snprintf(g->model, sizeof g->model, "%s", value);
    else if (!strcmp(key, "minor")) g->minor = (unsigned)atoi(value);
    else if (!strcmp(key, "memory")) g->memory = strtoull(value, NULL, 10);
    else if (!strcmp(key, "used")) g->used = strtoull(value, NULL, 10);
    else if (!strcmp(key, "utilization")) g->utilization = (unsigned)atoi(value);
    else if (!strcmp(key, "memory_utilization")) g->memory_utilization = (unsigned)atoi(value);
    else if (!strcmp(key, "temperature")) g->temperature = (unsigned)atoi(value);
    else if (!strcmp(key, "power")) g->power = (unsigned)atoi(value);
    else if (!strcmp(key, "lost")) g->lost = atoi(value);
    else if (!strcmp(key, "error")) g->error = atoi(value);
    else if (!strcmp(key, "ecc")) g->ecc = atoi(value);
    else if (!strcmp(key, "rows")) sscanf(value, "%d %d", &g->row_pending, &g->row_failed);
    else if (!strcmp(key, "pages")) g->page_pending = atoi(value);
    else if (!strcmp(key, "recovery")) g->recovery = atoi(value);
    else if (!strcmp(key, "mig")) g->mig = atoi(value);
    else if (!strcmp(key, "numa")) g->numa = atoi(value);
    else if (!strcmp(key, "switch")) g->pci_switch = atoi(value);
    else if (!strcmp(key, "slice") && g->slices < SLICES) {
        slice *s = &g->slice[g->slices++];
        sscanf(value, "%95s %31s %u %u %d %llu %llu", s->uuid, s->profile, &s->gi, &s->ci, &s->start,
               &s->memory, &s->used);
    }
    else if (!strcmp(key, "xid")) sscanf(value, "%u %d", &g->events, &g->xid);
    else if (!strcmp(key, "nvlink") && g->links < LINKS) {
        wires *w = &g->link[g->links++];
        sscanf(value, "%95s %u", w->to, &w->count);
    }
    else if (!strcmp(key, "process") && g->processes < PROCESSES)
        read_process(&g->process[g->processes++], value);
    else if (!strcmp(key, "graphics") && g->graphics < PROCESSES)
        read_process(&g->drawing[g->graphics++], value);
}

static void begin_gpu(gpu *g, const char *uuid)
{
    snprintf(g->uuid, sizeof g->uuid, "%.95s", uuid);
    g->ecc = g->row_pending = g->page_pending = g->recovery = g->mig = g->numa = g->pci_switch = UNTOLD;
}

static void read_state(FILE *file)
{
    char line[512], key[32];
    int at;

    memset(&now, 0, sizeof now);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, " %31s %n", key, &at) < 1)
            continue;
        if (!strcmp(key, "driver")) snprintf(now.driver, sizeof now.driver, "%.79s", line + at);
        else if (!strcmp(key, "cuda")) now.cuda = atoi(line + at);
        else if (!strcmp(key, "fails")) now.fails = atoi(line + at);
        else if (!strcmp(key, "gpu") && now.gpus < GPUS)
            begin_gpu(&now.gpu[now.gpus++], line + at);
        else if (now.gpus) read_gpu_line(&now.gpu[now.gpus - 1], key, line + at);
    }
}

/* Makes `now` what the file says now; each thread has its own copy, so that none needs a lock. */
static int look(void)
{
    char buffer[PATH_MAX];
    const char *path = state_path(buffer);
    struct stat found;
    FILE *file;

    if (stat(path, &found)) {
        memset(&seen, 0, sizeof seen);
        return DRIVER_NOT_LOADED;
    }
    if (found.st_ino == seen.st_ino && found.st_size == seen.st_size
        && !memcmp(&found.st_mtim, &seen.st_mtim, sizeof seen.st_mtim))
        return now.fails;
    if (!(file = fopen(path, "re")))
        return DRIVER_NOT_LOADED;
    read_state(file);
    fclose(file);
    seen = found;
    return now.fails;
}

static int ready(void)
{
    return users ? look() : UNINITIALIZED;
}

static int shown(const gpu *g)
{
    char node[64];

    snprintf(node, sizeof node, "/dev/nvidia%u", g->minor);
    return !filtered || access(node, F_OK) == 0;
}

/* The node by which a program may use a compute instance, numbered as the driver's mig-minors file does. */
static int slice_shown(const gpu *g, const slice *s)
{
    char node[64];

    snprintf(node, sizeof node, "/dev/nvidia-caps/nvidia-cap%u", 4 + g->minor * 135 + s->gi * 9 + s->ci);
    return !filtered || access(node, F_OK) == 0;
}

/* The GPU of a handle, which may be out of order; NULL and *error when NVML would not answer about it. */
static const gpu *name(const void *handle, int *error)
{
    const char *place = handle;

    part = NULL;
    if ((*error = ready()))
        return NULL;
    if (place >= slice_handles && place < slice_handles + GPUS * SLICES) {
        gpu *g = &now.gpu[(place - slice_handles) / SLICES];
        part = &g->slice[(place - slice_handles) % SLICES];
        if (part < g->slice + g->slices)
            place = &handles[g - now.gpu];
    }
    if (place < handles || place >= handles + now.gpus) {
        *error = INVALID_ARGUMENT;
        return NULL;
    }
    *error = now.gpu[place - handles].lost;
    return *error ? NULL : &now.gpu[place - handles];
}

static int give(char *to, unsigned size, const char *text)
{
    if (strlen(text) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

static const gpu *find(const void *handle, int *error)
{
    const gpu *g = name(handle, error);

    if (g && (*error = part ? INVALID_ARGUMENT : g->error))
        return NULL;
    return g;
}

static const gpu *find_either(const void *handle, int *error)
{
    const gpu *g = name(handle, error);

    if (g && (*error = g->error))
        return NULL;
    return g;
}

/* Opens an answer about one GPU: `g` is that GPU from here on, or the call has ended with the error. EITHER
   and NAMING also answer about a slice of it, `part`. */
#define ABOUT(handle) int error; const gpu *g = find(handle, &error); if (!g) return error
#define EITHER(handle) int error; const gpu *g = find_either(handle, &error); if (!g) return error
#define NAMING(handle) int error; const gpu *g = name(handle, &error); if (!g) return error

API int nvmlInitWithFlags(unsigned flags)
{
    int error = look();

    (void)flags;
    if (!error)
        users++;
    return error;
}

API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlInit(void) { return nvmlInitWithFlags(0); }

API int nvmlShutdown(void)
{
    if (!users)
        return UNINITIALIZED;
    users--;
    return SUCCESS;
}

API const char *nvmlErrorString(int error)
{
    switch (error) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

API int nvmlSystemGetDriverVersion(char *to, unsigned size)
{
    int error = ready();

    return error ? error : give(to, size, now.driver);
}

API int nvmlSystemGetNVMLVersion(char *to, unsigned size)
{
    char version[96];

    if (!users)
        return UNINITIALIZED;
    snprintf(version, sizeof version, "%d.%s", now.cuda / 1000, now.driver);
    return give(to, size, version);
}

API int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    int error = ready();

    *version = now.cuda;
    return error;
}

API int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

API int nvmlDeviceGetCount_v2(unsigned *count)
{
    int error = ready();

    *count = 0;
    for (unsigned i = 0; !error && i < now.gpus; i++)
        *count += (unsigned)shown(&now.gpu[i]);
    return error;
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned index, const void **handle)
{
    int error = ready();

    for (unsigned i = 0; !error && i < now.gpus; i++)
        if (shown(&now.gpu[i]) && index-- == 0) {
            *handle = &handles[i];
            return now.gpu[i].lost;
        }
    return error ? error : INVALID_ARGUMENT;
}

API int nvmlDeviceGetHandleByUUID(const char *uuid, const void **handle)
{
    int error = ready();

    for (unsigned i = 0; !error && i < now.gpus; i++)
        if (shown(&now.gpu[i]) && !strcmp(uuid, now.gpu[i].uuid)) {
            *handle = &handles[i];
            return now.gpu[i].lost;
        }
    return error ? error : NOT_FOUND;
}

API int nvmlDeviceGetIndex(const void *handle, unsigned *index)
{
    ABOUT(handle);
    *index = 0;
    for (const gpu *other = now.gpu; other < g; other++)
        *index += (unsigned)shown(other);
    return SUCCESS;
}

API int nvmlDeviceGetUUID(const void *handle, char *to, unsigned size)
{
    NAMING(handle);
    return give(to, size, part ? part->uuid : g->uuid);
}

API int nvmlDeviceGetName(const void *handle, char *to, unsigned size)
{
    NAMING(handle);
    char full[160];

    snprintf(full, sizeof full, "%s MIG %s", g->model, part ? part->profile : "");
    return give(to, size, part ? full : g->model);
}

API int nvmlDeviceGetMinorNumber(const void *handle, unsigned *minor)
{
    ABOUT(handle);
    *minor = g->minor;
    return SUCCESS;
}

static void address(unsigned minor, pci_info *to)
{
    *to = (pci_info){.bus = 16 + minor, .pci_device_id = 0x233010de};
    snprintf(to->legacy_id, sizeof to->legacy_id, "0000:%02X:00.0", to->bus & 0xff);
    snprintf(to->id, sizeof to->id, "00000000:%02X:00.0", to->bus & 0xff);
}

API int nvmlDeviceGetPciInfo_v3(const void *handle, pci_info *to)
{
    NAMING(handle);
    address(g->minor, to);
    return SUCCESS;
}

API int nvmlDeviceGetHandleByPciBusId_v2(const char *id, const void **handle)
{
    int error = ready();
    pci_info own;

    for (unsigned i = 0; !error && i < now.gpus; i++) {
        address(now.gpu[i].minor, &own);
        if (shown(&now.gpu[i]) && !strcmp(id, own.id)) {
            *handle = &handles[i];
            return now.gpu[i].lost;
        }
    }
    return error ? error : NOT_FOUND;
}

API int nvmlDeviceGetCudaComputeCapability(const void *handle, int *major, int *minor)
{
    ABOUT(handle);
    *major = 9;
    *minor = 0;
    return SUCCESS;
}

API int nvmlDeviceGetMemoryAffinity(const void *handle, unsigned words, unsigned long *mask, unsigned scope)
{
    ABOUT(handle);
    (void)scope;
    if (g->numa == UNTOLD)
        return NOT_SUPPORTED;
    memset(mask, 0, words * sizeof *mask);
    mask[g->numa / 64] |= 1ul << g->numa % 64;
    return SUCCESS;
}

API int nvmlDeviceGetTopologyCommonAncestor(const void *one, const void *two, unsigned *level)
{
    ABOUT(one);
    const gpu *other = find(two, &error);

    if (!other)
        return error;
    if (g->numa == UNTOLD || other->numa == UNTOLD)
        return NOT_SUPPORTED;
    *level = g->numa != other->numa ? 50 : g->pci_switch != UNTOLD && g->pci_switch == other->pci_switch ? 10 : 40;
    return SUCCESS;
}

/* To where link `number` of a GPU leads; NULL when it is down. */
static const wires *wire(const gpu *g, unsigned number)
{
    for (unsigned i = 0; i < g->links; number -= g->link[i++].count)
        if (number < g->link[i].count)
            return &g->link[i];
    return NULL;
}

API int nvmlDeviceGetNvLinkState(const void *handle, unsigned number, unsigned *up)
{
    ABOUT(handle);
    *up = wire(g, number) != NULL;
    return g->links ? SUCCESS : NOT_SUPPORTED;
}

API int nvmlDeviceGetNvLinkRemoteDeviceType(const void *handle, unsigned number, unsigned *type)
{
    ABOUT(handle);
    const wires *to = wire(g, number);

    *type = to && !strcmp(to->to, "switch") ? 2 : 0;
    return to ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetNvLinkRemotePciInfo_v2(const void *handle, unsigned number, pci_info *to)
{
    ABOUT(handle);
    const wires *remote = wire(g, number);

    for (unsigned i = 0; remote && i < now.gpus; i++)
        if (!strcmp(now.gpu[i].uuid, remote->to)) {
            address(now.gpu[i].minor, to);
            return SUCCESS;
        }
    return INVALID_ARGUMENT;
}

API int nvmlDeviceGetTotalEccErrors(const void *handle, unsigned type, unsigned counter, unsigned long long *count)
{
    ABOUT(handle);
    if (g->ecc == UNTOLD)
        return NOT_SUPPORTED;
    /* Only what is uncorrected and since the driver was loaded. */
    *count = type == 1 && counter == 0 ? (unsigned long long)g->ecc : 0;
    return SUCCESS;
}

API int nvmlDeviceGetRemappedRows(
    const void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    ABOUT(handle);
    if (g->row_pending == UNTOLD)
        return NOT_SUPPORTED;
    *corrected = *uncorrected = 0;
    *pending = (unsigned)g->row_pending;
    *failed = (unsigned)g->row_failed;
    return SUCCESS;
}

API int nvmlDeviceGetRetiredPagesPendingStatus(const void *handle, unsigned *pending)
{
    ABOUT(handle);
    if (g->page_pending == UNTOLD)
        return NOT_SUPPORTED;
    *pending = (unsigned)g->page_pending;
    return SUCCESS;
}

API int nvmlDeviceGetFieldValues(const void *handle, int count, field_value *values)
{
    ABOUT(handle);
    for (field_value *value = values; value < values + count; value++) {
        value->error = value->field == RECOVERY_ACTION && g->recovery != UNTOLD ? SUCCESS : NOT_SUPPORTED;
        value->type = 1;
        value->value.u = (unsigned)g->recovery;
    }
    return SUCCESS;
}

/* A set hears a GPU's events that come after its registration: `heard` has the last of each, plus one. */
typedef struct { unsigned heard[GPUS]; } event_set;

API int nvmlEventSetCreate(event_set **set)
{
    int error = ready();

    if (!error)
        *set = calloc(1, sizeof **set);
    return error;
}

API int nvmlEventSetFree(event_set *set)
{
    free(set);
    return users ? SUCCESS : UNINITIALIZED;
}

API int nvmlDeviceRegisterEvents(const void *handle, unsigned long long types, event_set *set)
{
    ABOUT(handle);
    (void)types;
    set->heard[g - now.gpu] = g->events + 1;
    return SUCCESS;
}

static int next_event(event_set *set, event_data *data)
{
    for (unsigned i = 0; i < now.gpus; i++)
        if (set->heard[i] > now.gpu[i].events + 1)
            /* Its life began anew. */
            set->heard[i] = now.gpu[i].events + 1;
        else if (set->heard[i] && now.gpu[i].events >= set->heard[i]) {
            set->heard[i] = now.gpu[i].events + 1;
            *data = (event_data){.device = &handles[i], .type = XID_EVENT, .data = (unsigned)now.gpu[i].xid};
            return 1;
        }
    return 0;
}

API int nvmlEventSetWait_v2(event_set *set, event_data *data, unsigned milliseconds)
{
    for (long left = milliseconds * 1000L;; left -= POLL_MICROSECONDS) {
        int error = ready();

        if (error || next_event(set, data))
            return error;
        if (left <= 0)
            return TIMEOUT;
        usleep(POLL_MICROSECONDS);
    }
}

API int nvmlDeviceGetMemoryInfo(const void *handle, memory_info *to)
{
    EITHER(handle);
    unsigned long long total = part ? part->memory : g->memory, used = part ? part->used : g->used;

    *to = (memory_info){.total = total, .free = total - used, .used = used};
    return SUCCESS;
}

API int nvmlDeviceGetMemoryInfo_v2(const void *handle, memory_info_v2 *to)
{
    memory_info plain;
    int error = nvmlDeviceGetMemoryInfo(handle, &plain);

    to->total = plain.total;
    to->reserved = 0;
    to->free = plain.free;
    to->used = plain.used;
    return error;
}

API int nvmlDeviceGetUtilizationRates(const void *handle, utilization_info *to)
{
    ABOUT(handle);
    if (g->mig == 1)
        return NOT_SUPPORTED;
    *to = (utilization_info){.gpu = g->utilization, .memory = g->memory_utilization};
    return SUCCESS;
}

API int nvmlDeviceGetTemperature(const void *handle, unsigned sensor, unsigned *celsius)
{
    ABOUT(handle);
    *celsius = g->temperature;
    return sensor ? INVALID_ARGUMENT : SUCCESS;
}

API int nvmlDeviceGetPowerUsage(const void *handle, unsigned *milliwatts)
{
    ABOUT(handle);
    *milliwatts = g->power;
    return SUCCESS;
}

static int give_processes(unsigned *count, process_info *to, const process_info *from, unsigned all)
{
    unsigned room = *count;

    *count = 0;
    for (const process_info *p = from; p < from + all; p++)
        if (!part || (p->gi == part->gi && p->ci == part->ci)) {
            if (*count < room)
                to[*count] = *p;
            ++*count;
        }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API int nvmlDeviceGetComputeRunningProcesses_v3(const void *handle, unsigned *count, process_info *to)
{
    EITHER(handle);
    return give_processes(count, to, g->process, g->processes);
}

API int nvmlDeviceGetGraphicsRunningProcesses_v3(const void *handle, unsigned *count, process_info *to)
{
    EITHER(handle);
    return give_processes(count, to, g->drawing, g->graphics);
}

API int nvmlDeviceGetMigMode(const void *handle, unsigned *current, unsigned *pending)
{
    ABOUT(handle);
    *current = *pending = g->mig == 1;
    return g->mig == UNTOLD ? NOT_SUPPORTED : SUCCESS;
}

API int nvmlDeviceGetMaxMigDeviceCount(const void *handle, unsigned *count)
{
    ABOUT(handle);
    *count = g->mig == 1 ? SLICES : 0;
    return SUCCESS;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(const void *handle, unsigned index, const void **found)
{
    ABOUT(handle);
    if (index >= SLICES)
        return INVALID_ARGUMENT;
    for (const slice *s = g->slice; s < g->slice + g->slices; s++)
        if (slice_shown(g, s) && index-- == 0) {
            *found = &slice_handles[(g - now.gpu) * SLICES + (s - g->slice)];
            return SUCCESS;
        }
    return NOT_FOUND;
}

API int nvmlDeviceGetGpuInstanceId(const void *handle, unsigned *id)
{
    EITHER(handle);
    *id = part ? part->gi : 0;
    return part ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetComputeInstanceId(const void *handle, unsigned *id)
{
    EITHER(handle);
    *id = part ? part->ci : 0;
    return part ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetAttributes_v2(const void *handle, attributes_info *to)
{
    EITHER(handle);
    *to = (attributes_info){0};
    if (!part)
        return INVALID_ARGUMENT;
    if (sscanf(part->profile, "%uc.%ug", &to->compute_slices, &to->gpu_slices) < 2) {
        sscanf(part->profile, "%ug", &to->gpu_slices);
        to->compute_slices = to->gpu_slices;
    }
    to->memory_mb = (unsigned long)(part->memory >> 20);
    return SUCCESS;
}

API int nvmlDeviceGetGpuInstanceById(const void *handle, unsigned id, const void **instance)
{
    ABOUT(handle);
    for (const slice *s = g->slice; s < g->slice + g->slices; s++)
        if (s->gi == id) {
            *instance = &slice_handles[(g - now.gpu) * SLICES + (s - g->slice)];
            return s->start < 0 ? NO_PERMISSION : SUCCESS;
        }
    return NOT_FOUND;
}

API int nvmlGpuInstanceGetInfo(const void *instance, instance_info *to)
{
    EITHER(instance);
    *to = (instance_info){.device = &handles[g - now.gpu]};
    if (!part)
        return INVALID_ARGUMENT;
    to->id = part->gi;
    to->placement.start = (unsigned)part->start;
    to->placement.size = 1;
    return SUCCESS;
}
