/* fault_vfs.c - between SQLite and its files: the n-th write, sync or truncation fails, and what
 * was not synced is lost with the power.
 *
 * The one rule: a file remembers what it was when it was last synced, and nothing else is changed.
 * Only installed by a test's word (base/fault.h). */
#include "fault_vfs.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include "imapfs/base/fault.h"

/* What stood at a place before it was written over, oldest first. */
typedef struct {
    sqlite3_int64 offset;
    GBytes *bytes;
} Undo;

/* A database or its log, however many connections have it open: one sync is for what all wrote. */
typedef struct {
    char *name;
    guint refs;
    GArray *undo;              /* of Undo */
    sqlite3_int64 synced_size; /* -1: as it is */
    sqlite3_file *writer;      /* who wrote last */
} Memory;

typedef struct {
    sqlite3_file base;
    Memory *memory; /* NULL: of no interest; it is made anew after a crash */
    sqlite3_file *real;
} FaultFile;

static sqlite3_vfs *real_vfs;
static __thread int last_errno; /* what a call failed with by our doing */
static GHashTable *memories;    /* name -> Memory */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static FaultFile *fault_file(sqlite3_file *file)
{
    return (FaultFile *)file;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return fault_file(file)->real;
}

/* --- what power would lose --- */

static void undo_clear(gpointer data)
{
    g_bytes_unref(((Undo *)data)->bytes);
}

static Memory *memory_get(const char *name)
{
    pthread_mutex_lock(&lock);
    Memory *memory = g_hash_table_lookup(memories, name);
    if (!memory) {
        memory = g_new0(Memory, 1);
        memory->name = g_strdup(name);
        memory->undo = g_array_new(FALSE, FALSE, sizeof(Undo));
        g_array_set_clear_func(memory->undo, undo_clear);
        memory->synced_size = -1;
        g_hash_table_insert(memories, memory->name, memory);
    }
    memory->refs++;
    pthread_mutex_unlock(&lock);
    return memory;
}

static void memory_forget(Memory *memory)
{
    memory->synced_size = -1;
    memory->writer = NULL;
    g_array_set_size(memory->undo, 0);
}

static void memory_put(Memory *memory, const sqlite3_file *file)
{
    pthread_mutex_lock(&lock);
    if (memory->writer == file)
        memory_forget(memory);
    if (--memory->refs == 0) {
        g_hash_table_remove(memories, memory->name);
        g_array_unref(memory->undo);
        g_free(memory->name);
        g_free(memory);
    }
    pthread_mutex_unlock(&lock);
}

/* With the lock held. What is past the end needs no copy: it is cut off. */
static void remember(FaultFile *self, sqlite3_int64 offset, sqlite3_int64 amount)
{
    sqlite3_int64 size = 0;
    Memory *memory = self->memory;
    if (!memory || self->real->pMethods->xFileSize(self->real, &size) != SQLITE_OK)
        return;
    memory->writer = self->real;
    if (memory->synced_size < 0)
        memory->synced_size = size;
    sqlite3_int64 end = MIN(offset + amount, size);
    if (end <= offset)
        return;
    gsize length = (gsize)(end - offset);
    guint8 *bytes = g_malloc(length);
    if (self->real->pMethods->xRead(self->real, bytes, (int)length, offset) != SQLITE_OK)
        memset(bytes, 0, length);
    Undo undo = {offset, g_bytes_new_take(bytes, length)};
    g_array_append_val(memory->undo, undo);
}

static void take_back(const Memory *memory)
{
    if (!memory->writer)
        return;
    for (guint i = memory->undo->len; i-- > 0;) {
        const Undo *undo = &g_array_index(memory->undo, Undo, i);
        gsize length;
        const void *bytes = g_bytes_get_data(undo->bytes, &length);
        memory->writer->pMethods->xWrite(memory->writer, bytes, (int)length, undo->offset);
    }
    memory->writer->pMethods->xTruncate(memory->writer, memory->synced_size);
}

/* Keeps the lock: nobody writes any more. */
static void lose_power(void)
{
    GHashTableIter iter;
    gpointer memory;
    pthread_mutex_lock(&lock);
    g_hash_table_iter_init(&iter, memories);
    while (g_hash_table_iter_next(&iter, NULL, &memory))
        take_back(memory);
}

/* --- a file's calls --- */

static int fails(const char *point, int code)
{
    int err = fault_hit(point);
    if (err == 0)
        return SQLITE_OK;
    last_errno = err;
    return err == ENOSPC && code == SQLITE_IOERR_WRITE ? SQLITE_FULL : code;
}

static int file_close(sqlite3_file *file)
{
    FaultFile *self = fault_file(file);
    if (self->memory)
        memory_put(self->memory, self->real);
    return self->real->pMethods->xClose(self->real);
}

static int file_read(sqlite3_file *file, void *buffer, int amount, sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), buffer, amount, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int amount, sqlite3_int64 offset)
{
    int code = fails("disk.write", SQLITE_IOERR_WRITE);
    if (code != SQLITE_OK)
        return code;
    pthread_mutex_lock(&lock);
    remember(fault_file(file), offset, amount);
    code = real_of(file)->pMethods->xWrite(real_of(file), bytes, amount, offset);
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = fails("disk.truncate", SQLITE_IOERR_TRUNCATE);
    if (code != SQLITE_OK)
        return code;
    pthread_mutex_lock(&lock);
    remember(fault_file(file), size, G_MAXINT);
    code = real_of(file)->pMethods->xTruncate(real_of(file), size);
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_sync(sqlite3_file *file, int flags)
{
    int code = fails("disk.sync", SQLITE_IOERR_FSYNC);
    if (code != SQLITE_OK)
        return code;
    pthread_mutex_lock(&lock);
    code = real_of(file)->pMethods->xSync(real_of(file), flags);
    if (code == SQLITE_OK && fault_file(file)->memory)
        memory_forget(fault_file(file)->memory);
    pthread_mutex_unlock(&lock);
    return code;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int file_lock(sqlite3_file *file, int kind)
{
    return real_of(file)->pMethods->xLock(real_of(file), kind);
}

static int file_unlock(sqlite3_file *file, int kind)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), kind);
}

static int file_check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

/* A size hint may lengthen the file behind our back. */
static int file_control(sqlite3_file *file, int op, void *data)
{
    if (op == SQLITE_FCNTL_SIZE_HINT)
        return SQLITE_OK;
    return real_of(file)->pMethods->xFileControl(real_of(file), op, data);
}

static int file_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

/* Nothing is promised that a loss of power could break. */
static int file_characteristics(sqlite3_file *file)
{
    int own = real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
    return own & ~(SQLITE_IOCAP_POWERSAFE_OVERWRITE | SQLITE_IOCAP_SEQUENTIAL);
}

static int shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

/* Version 2: no xFetch, as mmap_size is 0. */
static const sqlite3_io_methods file_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

/* --- the file system's calls --- */

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                    int *flags_out)
{
    FaultFile *self = fault_file(file);
    memset(self, 0, sizeof *self);
    self->real = (sqlite3_file *)(self + 1);
    int code = real_vfs->xOpen(real_vfs, name, self->real, flags, flags_out);
    if (self->real->pMethods == NULL)
        return code;
    if (code != SQLITE_OK) {
        self->real->pMethods->xClose(self->real);
        return code;
    }
    self->base.pMethods = &file_methods;
    if (name && flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))
        self->memory = memory_get(name);
    return SQLITE_OK;
}

/* Of our failure, once; else of the system's. */
static int vfs_last_error(sqlite3_vfs *vfs, int size, char *out)
{
    int err = last_errno;
    last_errno = 0;
    return err != 0 ? err : real_vfs->xGetLastError(real_vfs, size, out);
}

void fault_vfs_install(void)
{
    static sqlite3_vfs vfs;
    static gsize once;
    if ((!fault_names("disk.") && !fault_is_power()) || !g_once_init_enter(&once))
        return;
    real_vfs = sqlite3_vfs_find(NULL);
    memories = g_hash_table_new(g_str_hash, g_str_equal);
    vfs = *real_vfs;
    vfs.zName = "imapfs-fault";
    vfs.pNext = NULL;
    vfs.szOsFile = (int)sizeof(FaultFile) + real_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.xGetLastError = vfs_last_error;
    sqlite3_vfs_register(&vfs, 1);
    fault_set_power_loss(lose_power);
    g_once_init_leave(&once, 1);
}
