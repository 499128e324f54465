// What the tests of the configuration share: pieces of one, loading, and comparing.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_CONFIG_RIG_H
#define SAGATE_TESTS_UNIT_CONFIG_RIG_H

#include "controlplane/config/tables.h"
#include "tests/unit/unit.h"

#include <sys/types.h>

#define SERVERS     "servers = ( { name = \"s\"; http = \"127.0.0.1:8080\"; coap = \"[::1]:5683\"; } );"
#define UPSTREAM    "{ name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; " SERVERS " }"
#define UPSTREAMS   "upstreams = ( " UPSTREAM " );\n"
#define COAPS       "{ name = \"coaps\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; }"
#define LISTENERS   "listeners = ( " COAPS " );\n"
#define HTTPS(more) "{ name = \"https\"; transport = \"tls\"; binding = \"http\"; upstream = \"in\"; " more " }"

#define TEF(more)  "{ name = \"m\"; fqdn = \"m.example\"; address = \"192.0.2.1\"; upstream = \"in\"; " more " }"
#define ADMIN      "admin_fqdn = \"a.example\"; "
#define KEY        "psk_identity = \"i\"; psk = \"file:k\"; "
#define MAFS(each) "mafs = ( " each " );"
#define MEFS(each) "mefs = ( " each " );"

extern char rig_folder[]; // of the configuration

void rig_path(const char *name, char out[256]); // of a file in the folder
void rig_put(const char *name, const char *content, mode_t mode);
int rig_load(const char *content, struct config **config, struct config_errors *errors); // as config_load

// Loads what must be right, and takes it through the other processes twice.
struct config *rig_good(const char *content);

// Loads what must be refused; the errors must hold `expected`. Returns their number.
size_t rig_bad(const char *content, const char *expected);

void rig_same_tef(const struct config_tef *a, const struct config_tef *b);

// Makes the folder, runs the tests, removes it. What main returns.
int rig_main(const char *suite, const struct unit_test *tests, size_t count);

#endif
