// Plane messages: what supervisor, control and data say to each other over SOCK_SEQPACKET pairs. Typed and
// length-checked.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_PLANE_H
#define SAGATE_COMMON_PLANE_H

#include "common/principal.h"
#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// PLANE_VERSION: raise it with every change of a message that a release has had; a data process of another build is
// started only if it has the same (sagatectl upgrade).
enum { PLANE_VERSION = 1, PLANE_MESSAGE_MAX = 96 * 1024, PLANE_HEADER = 8 };

enum plane_type {
    // worker <-> control, both ways: "I have started anew, what you knew of me is void"; the other side repeats what it
    // has asked or told (RESOLVE by the worker; REGISTREES, OWNERS by control).
    PLANE_HELLO = 1,
    // worker -> control
    PLANE_RESOLVE,    // who is this PSK identity?
    PLANE_REGISTERED, // a CSE assigned an AE-ID
    PLANE_DELETED,    // a CSE deleted a resource
    PLANE_LISTED,     // part of an answer to LIST
    PLANE_KILLED,     // answer to KILL
    // control -> worker
    PLANE_RESOLVED,   // answer to RESOLVE
    PLANE_REVOKED,    // a credential is gone or has changed: forget its key, end its associations
    PLANE_PRINCIPAL,  // a principal has changed (AE-IDs learned or forgotten)
    PLANE_REGISTREES, // CSE-IDs of all CSEs with a credential; replaces the set
    PLANE_OWNERS,     // AE-IDs owned by one credential; adds to the set, or removes from it
    PLANE_LIST,       // tell your associations
    PLANE_KILL,       // end associations
    PLANE_DRAIN,      // take no new associations, end HTTP keep-alive
    PLANE_LOG_LEVEL,
    // supervisor -> control and data (each may carry one descriptor)
    PLANE_CONFIG_BEGIN, // a new configuration follows
    PLANE_CONFIG_TEXT,  // + memfd with config.text
    PLANE_CONFIG_FILE,  // + descriptor of a file that the configuration names, opened by the supervisor
    PLANE_LISTENER,     // + bound socket for a listener and worker
    PLANE_CHANNEL,      // + plane socket between control and a worker
    PLANE_STATS,        // + memfd with one struct stats per worker
    PLANE_SOCKET,       // + a socket by name ("control", "metrics")
    PLANE_CONFIG_COMMIT,
    // control, data -> supervisor
    PLANE_CONFIG_RESULT, // answer to CONFIG_COMMIT
    PLANE_RELOAD,        // control asks for a reload
    // supervisor -> control
    PLANE_RELOAD_RESULT,
    PLANE_PROCESSES, // process ids and restart counts
    // control -> supervisor when it changes, and back to the next control process before its first CONFIG_COMMIT
    PLANE_STATE, // what the operator has ordered and no file holds
    // supervisor -> data
    PLANE_STORE, // + memfd with a worker's associations (dataplane/association/store.h)
    PLANE_QUIT,  // end
    // control -> supervisor, and its answer
    PLANE_UPGRADE, // go on with the data process of another program
    PLANE_UPGRADE_RESULT,
    // control -> worker, and its answer
    PLANE_PROFILE,  // count how long each stage takes (common/profile.h)
    PLANE_PROFILED, // the counts are in the worker's struct stats
    PLANE_TYPE_END
};

struct plane_hello {
    uint32_t worker;
    uint64_t boot; // random, new with every start
};
struct plane_resolve {
    struct slice identity;
};
struct plane_resolved {
    struct slice identity;
    int32_t result;         // 0, SAGATE_ENOTFOUND, SAGATE_EUNAVAILABLE, …
    struct slice key;       // the receiver copies it into a secret and wipes the message buffer
    uint32_t cache_seconds; // how long the answer may be remembered
    struct slice principal; // packed
};
struct plane_revoked {
    struct slice identity;      // PSK identity whose cache entry is void
    struct slice credential_id; // whose associations end; empty: none end
};
struct plane_principal {
    struct slice principal; // packed
};
struct plane_registered {
    struct slice credential_id, upstream, aei, resource_id, structured;
};
struct plane_deleted {
    struct slice upstream, to;
};
struct plane_registrees {
    struct slice cse_ids; // packed texts
};
struct plane_owners {
    uint8_t remove;       // 1: remove these
    uint8_t replace;      // 1: clear the set first
    struct slice entries; // packed texts: stem, upstream (empty: owned at every one), credential_id, stem, …
};
struct plane_list {
    uint64_t ticket, cursor;
    uint32_t limit;
};
struct plane_listed {
    uint64_t ticket;
    uint64_t next;        // cursor for the next LIST; 0: the end
    struct slice entries; // packed struct plane_association
};
struct plane_association { // one entry of LISTED
    uint64_t id;
    struct slice peer, credential_id, listener, protocol, cipher;
    uint8_t framework;
    uint64_t age_ms, idle_ms, bytes_in, bytes_out;
};
struct plane_kill {
    uint64_t ticket, association; // 0: by credential
    struct slice credential_id;
};
struct plane_killed {
    uint64_t ticket;
    uint32_t count;
};
struct plane_drain {
    uint8_t on;
};
struct plane_log_level {
    uint8_t level; // enum log_level
};
struct plane_config_begin {
    uint64_t generation;
};
struct plane_config_file {
    struct slice path;
};
struct plane_listener {
    struct slice name;
    uint32_t worker;
};
struct plane_channel {
    uint32_t worker;
};
struct plane_stats {
    uint32_t workers;
};
struct plane_socket {
    struct slice name;
};
struct plane_config_commit {
    uint64_t generation;
    uint8_t check_only; // 1: say whether it would be taken, and drop it
};
struct plane_config_result {
    uint64_t generation;
    int32_t result;
    struct slice text;
};
struct plane_reload {
    uint64_t ticket;
};
struct plane_reload_result {
    uint64_t ticket;
    int32_t result;
    struct slice text;
};
struct plane_processes {
    int64_t supervisor, control, data; // process ids; 0: not running
    uint32_t control_restarts, data_restarts;
    int64_t data_started;             // wall clock, seconds
    uint64_t data_resumed, data_lost; // associations at that start
    struct slice data_version;
};
struct plane_state {
    uint8_t drain;
    uint8_t log_level_set; // 1: log_level holds until the next reload
    uint8_t log_level;     // enum log_level
};
struct plane_store {
    uint32_t worker;
};
struct plane_quit {
    uint8_t keep; // 1: associations stay in the store for the next process; else they end with close_notify
};
struct plane_upgrade {
    uint64_t ticket;
    uint8_t force;     // 1: also when associations would be lost
    struct slice path; // of the program; empty: the path by which sagate was started
};
struct plane_upgrade_result {
    uint64_t ticket;
    int32_t result;
    struct slice text;    // why it was refused or has failed
    struct slice version; // that serves now
    uint64_t resumed, lost;
};

struct plane_profile {
    uint64_t ticket;
    uint32_t milliseconds; // then it ends by itself; 0: now
};
struct plane_profiled {
    uint64_t ticket;
};

struct plane_message {
    enum plane_type type;
    union {
        struct plane_hello hello;
        struct plane_resolve resolve;
        struct plane_resolved resolved;
        struct plane_revoked revoked;
        struct plane_principal principal;
        struct plane_registered registered;
        struct plane_deleted deleted;
        struct plane_registrees registrees;
        struct plane_owners owners;
        struct plane_list list;
        struct plane_listed listed;
        struct plane_kill kill;
        struct plane_killed killed;
        struct plane_drain drain;
        struct plane_log_level log_level;
        struct plane_config_begin config_begin;
        struct plane_config_file config_file;
        struct plane_listener listener;
        struct plane_channel channel;
        struct plane_stats stats;
        struct plane_socket socket;
        struct plane_config_commit config_commit;
        struct plane_config_result config_result;
        struct plane_reload reload;
        struct plane_reload_result reload_result;
        struct plane_processes processes;
        struct plane_state state;
        struct plane_store store;
        struct plane_quit quit;
        struct plane_upgrade upgrade;
        struct plane_upgrade_result upgrade_result;
        struct plane_profile profile;
        struct plane_profiled profiled;
    };
};

// Encodes into `out`: the length, or SAGATE_ETOOBIG, or SAGATE_EINVAL for an unknown type.
int plane_encode(const struct plane_message *message, uint8_t *out, size_t cap);

// Decodes one message; slices point into `data`. SAGATE_OK, SAGATE_EMALFORMED (type, length, trailing bytes),
// SAGATE_EVERSION.
int plane_decode(const uint8_t *data, size_t len, struct plane_message *message);

// Sends without waiting, with a descriptor when `pass_fd` >= 0 (which stays the caller's). SAGATE_OK; SAGATE_AGAIN when
// the socket is full; SAGATE_EGONE; SAGATE_ETOOBIG; SAGATE_ESYS. The buffer that held the message is wiped.
int plane_send(int fd, const struct plane_message *message, int pass_fd);

// Receives without waiting into `buffer` of PLANE_MESSAGE_MAX bytes. SAGATE_OK; SAGATE_AGAIN: nothing there;
// SAGATE_EGONE: the other side is closed; SAGATE_EMALFORMED: one message was dropped; SAGATE_ESYS. *received_fd: a
// descriptor that came along and is now the caller's, else -1.
int plane_receive(int fd, uint8_t *buffer, struct plane_message *message, int *received_fd);

// Lists inside a message. Append returns the new length, or SAGATE_ETOOBIG. Next takes from the front of *list:
// SAGATE_OK, SAGATE_DONE at the end, SAGATE_EMALFORMED.
int plane_append_text(uint8_t *out, size_t used, size_t cap, struct slice text);
int plane_next_text(struct slice *list, struct slice *text);
int plane_append_association(uint8_t *out, size_t used, size_t cap, const struct plane_association *entry);
int plane_next_association(struct slice *list, struct plane_association *entry);

// A principal as bytes: the length or SAGATE_ETOOBIG; back: a new principal with one reference, NULL when malformed or
// memory is short.
int plane_pack_principal(const struct principal *principal, uint8_t *out, size_t cap);
struct principal *plane_unpack_principal(struct slice packed);

// Only the head of a packed principal, pointing into it. False: malformed, or empty.
struct plane_packed {
    enum framework framework;
    int64_t expires_at;
    struct slice credential_id;
};
bool plane_packed_principal(struct slice packed, struct plane_packed *head);

// A connected pair of non-blocking, close-on-exec SOCK_SEQPACKET sockets with buffers for full messages.
// SAGATE_OK or SAGATE_ESYS.
int plane_pair(int fds[2]);

#endif
