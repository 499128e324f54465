// A control process in a child, with the test as its supervisor, its two workers and its clients.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_CONTROL_RIG_H
#define SAGATE_TESTS_UNIT_CONTROL_RIG_H

#include "common/plane.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { RIG_WORKERS = 2 };

#define RIG_KEY_NODE     "0123456789abcdeF"
#define RIG_KEY_NODE_HEX "30313233343536373839616263646546"
#define RIG_KEY_NEW      "\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef"
#define RIG_KEY_NEW_HEX  "deadbeefdeadbeefdeadbeefdeadbeef"
#define RIG_REST                                                                             \
    "{ identity = \"dev@x\"; key_hex = \"" RIG_KEY_NEW_HEX "\"; ae_ids = [ \"Cdev1\" ]; }, " \
    "{ identity = \"zmn@x\"; key_hex = \"" RIG_KEY_NEW_HEX "\"; cse_id = \"/mn1\"; } );"
#define RIG_USUAL \
    "credentials = ( { identity = \"node@x\"; key_hex = \"" RIG_KEY_NODE_HEX "\"; ae_ids = [ \"C*\" ]; }, " RIG_REST
#define RIG_WITHOUT_NODE "credentials = ( " RIG_REST

struct stats;

struct rig {
    char folder[64];
    pid_t pid;
    int supervisor;          // the test's end
    int worker[RIG_WORKERS]; // the same
    int worker_far[RIG_WORKERS];
    int control_socket, metrics_socket; // listening
    unsigned short metrics_port;
    struct stats *stats[RIG_WORKERS];
    int stats_fd;
    bool maf;        // rig_maf has been called
    char text[4096]; // of the last CONFIG_RESULT
    uint8_t buffer[PLANE_MESSAGE_MAX];
};

void rig_create(struct rig *rig);
void rig_destroy(struct rig *rig);
void rig_credentials(struct rig *rig, const char *content); // writes the file
// Adds a MAF "maf" (maf.sp.example) at which nobody listens to the configuration, its key in a file with this content.
void rig_maf(struct rig *rig, const char *key);
void rig_spawn(struct rig *rig);
int rig_stop(struct rig *rig); // closes the supervisor's socket; the exit status

// Hands over the configuration, with sockets, channels and counters when `all`. The result of CONFIG_RESULT.
int rig_configure(struct rig *rig, uint64_t generation, bool all);
// The same without these, to be checked only.
int rig_check(struct rig *rig, uint64_t generation);

// A message, waited for some seconds at most; its slices live until the next. SAGATE_OK or an error.
int rig_next(struct rig *rig, int fd, struct plane_message *message);
void rig_expect(struct rig *rig, int fd, enum plane_type type, struct plane_message *message); // skips others
void rig_send(struct rig *rig, int fd, const struct plane_message *message);                   // waits for room

int rig_begin_ask(struct rig *rig, const char *command);                      // a new connection with the command sent
size_t rig_read_line(struct rig *rig, int fd, char *line, size_t cap);        // 0: closed
void rig_ask(struct rig *rig, const char *command, char *answer, size_t cap); // one line
size_t rig_http(struct rig *rig, const char *path, char *answer, size_t cap);
size_t rig_log(struct rig *rig, char *text, size_t cap); // what the child has logged so far

mode_t rig_mode(struct rig *rig, const char *name);
bool rig_holds_key(const char *text, size_t len); // as bytes, hexadecimal or base64
void rig_all_documented(const char *metrics);

#endif
