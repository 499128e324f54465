// What the tests of sagate-tef share: settings, a store in memory with three clients, and requests as text.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TEFSERVER_RIG_H
#define SAGATE_TESTS_UNIT_TEFSERVER_RIG_H

#include "common/derive.h"
#include "common/error.h"
#include "controlplane/tefserver/procedures.h"

#include <stdio.h>

#define RIG_TARGET "//sp.example/id-in"
#define RIG_SOURCE "//sp.example/Sdev1"
#define RIG_OTHER  "//sp.example/Sdev2"
#define RIG_ADMIN  "admin.sp.example"

enum { RIG_NOW = 1800000000 }; // 20270115T080000

struct tef_rig {
    struct settings settings;
    char fqdn[32];
    uint8_t exported[DERIVE_EXPORTED];
    struct tef_store *store;
};

static const uint8_t rig_store_key[TEF_STORE_KEY] = {1, 2, 3};
static const uint8_t rig_psk[16] = "0123456789abcde";

static inline bool rig_client(struct tef_store *store, const char *id, const char *identity, const char *admins,
                              bool target_any)
{
    struct tef_store_client client = {.target_any = target_any};
    (void)snprintf(client.id, sizeof client.id, "%s", id);
    (void)snprintf(client.psk_identity, sizeof client.psk_identity, "%s", identity);
    (void)snprintf(client.admins, sizeof client.admins, "%s", admins);
    return tef_store_client_add(store, &client, slice_of(rig_psk, identity[0] == '\0' ? 0 : sizeof rig_psk)) ==
           SAGATE_OK;
}

// False when it cannot be made. End it with tef_store_close(rig->store).
static inline bool rig_open(struct tef_rig *rig, enum tef_kind kind)
{
    char why[TEF_STORE_ERROR_MAX];
    *rig = (struct tef_rig){.settings = {.limits = {.key_seconds = 1000,
                                                    .registration_seconds = 5000,
                                                    .keys_per_client = 3,
                                                    .registrations_per_client = 2}}};
    for (size_t i = 0; i < sizeof rig->exported; i++)
        rig->exported[i] = (uint8_t)(0xa0 + i);
    (void)snprintf(rig->fqdn, sizeof rig->fqdn, "%s", "maf.sp.example");
    rig->settings.function_count = 1;
    rig->settings.functions[0].kind = kind;
    rig->settings.functions[0].fqdn = rig->fqdn;
    return tef_store_open(":memory:", rig_store_key, &rig->store, why) == SAGATE_OK &&
           rig_client(rig->store, RIG_TARGET, "id-in@maf.sp.example", "", false) &&
           rig_client(rig->store, RIG_SOURCE, "dev1@maf.sp.example", "second.example " RIG_ADMIN, false) &&
           rig_client(rig->store, RIG_OTHER, "", RIG_ADMIN, true);
}

// Runs one request at `now`; release the answer.
static inline struct procedure_answer rig_run(struct tef_rig *rig, const char *client, enum onem2m_operation operation,
                                              unsigned type, const char *target, const char *content, int64_t now)
{
    struct procedure_answer answer;
    const struct procedure_peer peer = {.client_id = client, .exported = rig->exported};
    const struct procedure_request request = {
        .operation = operation, .type = type, .target = slice_text(target), .content = slice_text(content)};
    procedure_run(&rig->settings, &rig->settings.functions[0], rig->store, &peer, &request, now, &answer);
    return answer;
}

#endif
