// What the TEF knows: clients, their registrations, keys; one SQLite file. Keys in it are encrypted with AES-256-GCM,
// each bound to its row. One thread; several processes may have the file open.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_STORE_H
#define SAGATE_CONTROLPLANE_TEFSERVER_STORE_H

#include "common/slice.h"
#include "controlplane/tef/answer.h"
#include "controlplane/tef/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TEF_STORE_KEY = 32,
    TEF_STORE_ERROR_MAX = 256,
    TEF_STORE_ADMINS_MAX = 1024,
    TEF_STORE_IDENTITY_MAX = 512,
    TEF_STORE_LABELS_MAX = 2048
};

struct tef_store;

struct tef_store_client {
    char id[TEF_ID_MAX + 1];                       // absolute CSE-ID or AE-ID
    char psk_identity[TEF_STORE_IDENTITY_MAX + 1]; // "": none, a certificate
    char admins[TEF_STORE_ADMINS_MAX];             // domain names, lower case, separated by single spaces
    bool target_any;
};

struct tef_store_registration {
    char id[TEF_ID_MAX + 1];
    char client_id[TEF_ID_MAX + 1];
    char admin_fqdn[TEF_ID_MAX + 1];
    char labels[TEF_STORE_LABELS_MAX]; // a JSON array, "" for none
    int64_t expires_at;
};

struct tef_store_key {
    struct tef_key key;
    char labels[TEF_STORE_LABELS_MAX];
};

// Opens or makes the file (mode 0600; ":memory:" for tests). SAGATE_OK; SAGATE_EKEY (the store was encrypted with
// another key), SAGATE_EVERSION, SAGATE_ESYS, SAGATE_ENOMEM, with the reason in `why`.
int tef_store_open(const char *path, const uint8_t key[TEF_STORE_KEY], struct tef_store **store,
                   char why[TEF_STORE_ERROR_MAX]);
void tef_store_close(struct tef_store *store); // NULL is allowed

// All below: SAGATE_OK; SAGATE_ENOTFOUND, SAGATE_EEXISTS where that can be; SAGATE_ESYS, SAGATE_ENOMEM.

// A client, with its key unless that is empty (at most TEF_KEY_MAX bytes).
int tef_store_client_add(struct tef_store *store, const struct tef_store_client *client, struct slice psk);
int tef_store_client_remove(struct tef_store *store, const char *id); // and what it registered
int tef_store_client_by_id(struct tef_store *store, struct slice id, struct tef_store_client *client);
// By the public domain name of its ID (derive_target_fqdn), case-insensitive.
int tef_store_client_by_name(struct tef_store *store, struct slice name, struct tef_store_client *client);
// With its key in `psk`, memory of secret_alloc for TEF_KEY_MAX bytes.
int tef_store_client_by_identity(struct tef_store *store, struct slice identity, struct tef_store_client *client,
                                 uint8_t psk[TEF_KEY_MAX], size_t *psk_len);
int tef_store_client_each(struct tef_store *store, void (*each)(void *context, const struct tef_store_client *client),
                          void *context);

// Registrations of clients. `find` and the rest do not see what has expired by `now` (wall-clock seconds).
int tef_store_registration_put(struct tef_store *store, enum tef_kind kind,
                               const struct tef_store_registration *registration);
int tef_store_registration_find(struct tef_store *store, enum tef_kind kind, struct slice id, int64_t now,
                                struct tef_store_registration *registration);
int tef_store_registration_remove(struct tef_store *store, enum tef_kind kind, const char *id);
int tef_store_registration_count(struct tef_store *store, enum tef_kind kind, const char *client_id, size_t *count);

// Keys. `add` refuses an ID that is taken (SAGATE_EEXISTS); `update` changes expiry, targets and labels.
int tef_store_key_add(struct tef_store *store, enum tef_kind kind, const struct tef_store_key *key);
int tef_store_key_update(struct tef_store *store, enum tef_kind kind, const struct tef_store_key *key);
int tef_store_key_find(struct tef_store *store, enum tef_kind kind, struct slice relative_key_id, int64_t now,
                       struct tef_store_key *key);
int tef_store_key_remove(struct tef_store *store, enum tef_kind kind, const char *relative_key_id);
int tef_store_key_count(struct tef_store *store, enum tef_kind kind, const char *source_id, size_t *count);
// Without key values.
int tef_store_key_each(struct tef_store *store,
                       void (*each)(void *context, enum tef_kind kind, const struct tef_store_key *key), void *context);

// Many changes as one.
int tef_store_begin(struct tef_store *store);
int tef_store_commit(struct tef_store *store);

// Deletes what has expired.
int tef_store_expire(struct tef_store *store, int64_t now);

#endif
