// getrandom(2) in bulk: each byte that was drawn is handed out once, and overwritten.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/random.h"

#include "common/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

enum {
    DRAWN = 4096 - 64, // a page, with its count and the header that secret_alloc puts before it
    DIRECT = 512,      // from so many bytes on a draw of their own costs little
};

// The count lies with the bytes: a forked child finds both wiped (MADV_WIPEONFORK), and so draws anew.
struct drawn {
    size_t left; // at the end of `bytes`
    uint8_t bytes[DRAWN];
};

static _Thread_local struct drawn *drawn;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;
static bool prepared;

static void release(void *mine)
{
    drawn = NULL;
    secret_free(mine);
}

// Where the kernel wipes nothing at a fork.
static void in_child(void)
{
    if (drawn != NULL)
        drawn->left = 0;
}

static void prepare(void)
{
    prepared = pthread_key_create(&at_exit, release) == 0 && pthread_atfork(NULL, NULL, in_child) == 0;
}

static bool draw(uint8_t *out, size_t len)
{
    while (len > 0) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno != EINTR)
            return false;
        out += got > 0 ? got : 0;
        len -= got > 0 ? (size_t)got : 0;
    }
    return true;
}

// Only with the means to take them from a child and to release them at the end of the thread.
static struct drawn *allocate(void)
{
    struct drawn *new = NULL;
    if (pthread_once(&once, prepare) == 0 && prepared)
        new = secret_alloc(sizeof *new);
    if (new != NULL && pthread_setspecific(at_exit, new) != 0) {
        secret_free(new);
        new = NULL;
    }
    return new;
}

static bool take(uint8_t *out, size_t len)
{
    if (drawn == NULL)
        drawn = allocate();
    if (drawn == NULL || len >= DIRECT)
        return draw(out, len);
    if (drawn->left < len) {
        if (!draw(drawn->bytes, DRAWN))
            return false;
        drawn->left = DRAWN;
    }
    uint8_t *next = drawn->bytes + DRAWN - drawn->left;
    drawn->left -= len;
    memcpy(out, next, len);
    secret_zero(next, len);
    return true;
}

bool random_bytes(void *out, size_t len)
{
    if (take(out, len))
        return true;
    secret_zero(out, len);
    return false;
}

int sagate_random_block(unsigned char *out, unsigned int len)
{
    return random_bytes(out, len) ? 0 : -1;
}
