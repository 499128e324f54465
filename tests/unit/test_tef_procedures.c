// The procedures of a MAF and an MEF: who may do what, and what is answered (TS-0003 8.8.2, 8.3.2.1).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/tefserver_rig.h"
#include "tests/unit/unit.h"

#include <jansson.h>
#include <string.h>

#define KEY(members) "{\"sec:symmKeyReg\":{" members "}}"
#define USUAL        "\"et\":\"20270115T080010\",\"adminFQDN\":\"admin.sp.example\",\"SUID\":32"
#define TO_TARGET    "\"targetIDs\":[\"//sp.example/id-in\"]"
#define EXPORTED_ID  "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF"

static struct tef_rig rig;

static void open_rig(enum tef_kind kind)
{
    CU_ASSERT_TRUE_FATAL(rig_open(&rig, kind));
}

// The response status code alone.
static int ask(const char *client, enum onem2m_operation operation, unsigned type, const char *target,
               const char *content)
{
    struct procedure_answer answer = rig_run(&rig, client, operation, type, target, content, RIG_NOW);
    procedure_answer_release(&answer);
    return (int)answer.rsc;
}

// The members of the resource in an answer; json_decref.
static json_t *members_of(const struct procedure_answer *answer, const char *root)
{
    json_t *json = answer->content == NULL ? NULL : json_loads(answer->content, 0, NULL);
    json_t *members = json_incref(json_object_get(json, root));
    json_decref(json);
    return members;
}

static const char *text_of(const json_t *members, const char *name)
{
    const char *text = json_string_value(json_object_get(members, name));
    return text == NULL ? "" : text;
}

static void exported_keys_are_for_the_target(void)
{
    open_rig(TEF_MAF);
    struct procedure_answer answer =
        rig_run(&rig, RIG_SOURCE, ONEM2M_CREATE, 2, "/", KEY(USUAL "," TO_TARGET ",\"lbl\":[\"x\"]"), RIG_NOW);
    CU_ASSERT_EQUAL(answer.rsc, RSC_CREATED);
    CU_ASSERT_STRING_EQUAL(answer.id, EXPORTED_ID);
    json_t *members = members_of(&answer, "sec:symmKeyReg");
    CU_ASSERT_STRING_EQUAL(text_of(members, "relativeKeyID"), EXPORTED_ID);
    CU_ASSERT_STRING_EQUAL(text_of(members, "et"), "20270115T080010");
    CU_ASSERT_PTR_NULL(json_object_get(members, "keyValue"));
    json_decref(members);
    procedure_answer_release(&answer);
    answer = rig_run(&rig, RIG_TARGET, ONEM2M_RETRIEVE, 0, "/" EXPORTED_ID, "", RIG_NOW);
    CU_ASSERT_EQUAL(answer.rsc, RSC_OK);
    members = members_of(&answer, "sec:symmKeyReg");
    CU_ASSERT_STRING_EQUAL(text_of(members, "sourceID"), RIG_SOURCE);
    CU_ASSERT_STRING_EQUAL(text_of(members, "keyValue"), "sLGys7S1tre4ubq7vL2+v8DBwsPExcbHyMnKy8zNzs8=");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(members, "SUID")), 32);
    json_decref(members);
    procedure_answer_release(&answer);
    // Not for others, and not once it has expired; a session gives one key.
    CU_ASSERT_EQUAL(ask(RIG_OTHER, ONEM2M_RETRIEVE, 0, "/" EXPORTED_ID, ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 2, "/", KEY(USUAL "," TO_TARGET)), RSC_CONFLICT);
    answer = rig_run(&rig, RIG_TARGET, ONEM2M_RETRIEVE, 0, "/" EXPORTED_ID, "", RIG_NOW + 10);
    CU_ASSERT_EQUAL(answer.rsc, RSC_NOT_FOUND);
    procedure_answer_release(&answer);
    tef_store_close(rig.store);
}

static void registrations_are_checked(void)
{
    static const struct {
        const char *client, *content;
        int rsc;
    } cases[] = {
        {RIG_SOURCE, "", RSC_BAD_REQUEST},
        {RIG_SOURCE, "[]", RSC_BAD_REQUEST},
        {RIG_SOURCE, "{\"other\":{}}", RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY(USUAL), RSC_BAD_REQUEST},                                                // no target
        {RIG_SOURCE, KEY(USUAL ",\"targetIDs\":[\"/id-in\"]"), RSC_BAD_REQUEST},                  // not absolute
        {RIG_SOURCE, KEY(USUAL ",\"targetIDs\":[\"//sp.example/id-in\",\"//sp.example/Sdev2\"]"), // two
         RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY("\"SUID\":32," TO_TARGET), RSC_BAD_REQUEST}, // no administrator
        {RIG_SOURCE, KEY("\"adminFQDN\":\"admin.sp.example\",\"SUID\":22," TO_TARGET), RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY(USUAL "," TO_TARGET ",\"sourceID\":\"//sp.example/Sdev2\""), RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY(USUAL "," TO_TARGET ",\"keyValue\":\"!\""), RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY("\"et\":\"20200101T000000\",\"adminFQDN\":\"admin.sp.example\",\"SUID\":32," TO_TARGET),
         RSC_BAD_REQUEST},
        {RIG_SOURCE, KEY("\"adminFQDN\":\"evil.example\",\"SUID\":32," TO_TARGET), RSC_ORIGINATOR_HAS_NO_PRIVILEGE},
        {RIG_TARGET, KEY(USUAL "," TO_TARGET), RSC_ORIGINATOR_HAS_NO_PRIVILEGE},
        {RIG_SOURCE, KEY(USUAL ",\"targetIDs\":[\"//sp.example/id-unknown\"]"), RSC_ORIGINATOR_HAS_NO_PRIVILEGE},
        {RIG_OTHER, KEY(USUAL ",\"targetIDs\":[\"//sp.example/id-unknown\"]"), RSC_CREATED}, // target_any
    };
    open_rig(TEF_MAF);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_EQUAL(ask(cases[i].client, ONEM2M_CREATE, 2, "/", cases[i].content), cases[i].rsc);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 7, "/", KEY(USUAL "," TO_TARGET)), RSC_BAD_REQUEST);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_UPDATE, 0, "/", ""), RSC_OPERATION_NOT_ALLOWED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 2, "/x", ""), RSC_OPERATION_NOT_ALLOWED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_RETRIEVE, 0, "/../x", ""), RSC_NOT_FOUND);
    CU_ASSERT_EQUAL(ask("//sp.example/Sgone", ONEM2M_RETRIEVE, 0, "/x", ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    tef_store_close(rig.store);
}

static void given_keys_are_limited_in_time_and_number(void)
{
    static const char content[] =
        KEY("\"et\":\"20300101T000000\",\"adminFQDN\":\"second.example\",\"SUID\":32,\"keyValue\":\"AAECAwQFBgc=\","
            "\"expirationTime\":\"20300101T000000\"," TO_TARGET);
    open_rig(TEF_MAF);
    for (size_t i = 0; i < 3; i++) {
        struct procedure_answer answer = rig_run(&rig, RIG_SOURCE, ONEM2M_CREATE, 2, "/", content, RIG_NOW);
        CU_ASSERT_EQUAL(answer.rsc, RSC_CREATED);
        json_t *members = members_of(&answer, "sec:symmKeyReg");
        CU_ASSERT_STRING_EQUAL(text_of(members, "et"), "20270115T081640"); // 1000 seconds on
        json_decref(members);
        procedure_answer_release(&answer);
    }
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 2, "/", content), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    tef_store_close(rig.store);
}

static void only_the_source_changes_a_key(void)
{
    static const char later[] = KEY("\"et\":\"20270115T080100\"");
    open_rig(TEF_MAF);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 2, "/", KEY(USUAL "," TO_TARGET)), RSC_CREATED);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_UPDATE, 0, "/" EXPORTED_ID, later), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_DELETE, 0, "/" EXPORTED_ID, ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_UPDATE, 0, "/" EXPORTED_ID, KEY("")), RSC_BAD_REQUEST);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_UPDATE, 0, "/" EXPORTED_ID, later), RSC_UPDATED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_UPDATE, 0, "/" EXPORTED_ID, KEY("\"targetIDs\":[\"//sp.example/Sdev2\"]")),
                    RSC_UPDATED);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_RETRIEVE, 0, "/" EXPORTED_ID, ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_OTHER, ONEM2M_RETRIEVE, 0, "/" EXPORTED_ID, ""), RSC_OK);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_DELETE, 0, "/" EXPORTED_ID, ""), RSC_DELETED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_DELETE, 0, "/" EXPORTED_ID, ""), RSC_NOT_FOUND);
    tef_store_close(rig.store);
}

static void clients_register(void)
{
    static const char content[] =
        "{\"sec:mafClientReg\":{\"et\":\"20270115T080010\",\"adminFQDN\":\"ADMIN.sp.example\"}}";
    char path[TEF_ID_MAX + 2];
    open_rig(TEF_MAF);
    struct procedure_answer answer = rig_run(&rig, RIG_SOURCE, ONEM2M_CREATE, 1, "/", content, RIG_NOW);
    CU_ASSERT_EQUAL(answer.rsc, RSC_CREATED);
    json_t *members = members_of(&answer, "sec:mafClientReg");
    (void)snprintf(path, sizeof path, "/%s", text_of(members, "ri"));
    CU_ASSERT_STRING_EQUAL(text_of(members, "adminFQDN"), RIG_ADMIN);
    json_decref(members);
    procedure_answer_release(&answer);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_RETRIEVE, 0, path, ""), RSC_OK);
    CU_ASSERT_EQUAL(ask(RIG_OTHER, ONEM2M_RETRIEVE, 0, path, ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_UPDATE, 0, path, "{\"sec:mafClientReg\":{\"et\":\"20270115T080100\"}}"),
                    RSC_UPDATED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 1, "/", content), RSC_CREATED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 1, "/", content), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_DELETE, 0, path, ""), RSC_DELETED);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_RETRIEVE, 0, path, ""), RSC_NOT_FOUND);
    tef_store_close(rig.store);
}

static void somebody_else_is_no_originator(void)
{
    open_rig(TEF_MAF);
    struct procedure_answer answer;
    const struct procedure_peer peer = {.client_id = RIG_SOURCE};
    struct procedure_request request = {
        .operation = ONEM2M_RETRIEVE, .target = slice_text("/x"), .origin = slice_text(RIG_TARGET)};
    procedure_run(&rig.settings, &rig.settings.functions[0], rig.store, &peer, &request, RIG_NOW, &answer);
    CU_ASSERT_EQUAL(answer.rsc, RSC_ORIGINATOR_NOT_AUTHENTICATED);
    request.origin = slice_text(RIG_SOURCE);
    procedure_run(&rig.settings, &rig.settings.functions[0], rig.store, &peer, &request, RIG_NOW, &answer);
    CU_ASSERT_EQUAL(answer.rsc, RSC_NOT_FOUND);
    tef_store_close(rig.store);
}

static void credentials_are_derived_for_who_asks(void)
{
    static const char content[] =
        KEY("\"et\":\"20270115T080010\",\"adminFQDN\":\"admin.sp.example\",\"SUID\":22," TO_TARGET);
    static const char path[] = "/fetchCredentials/" EXPORTED_ID "@MAF.sp.example/22";
    open_rig(TEF_MEF);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_CREATE, 2, "/", content), RSC_CREATED);
    struct procedure_answer answer = rig_run(&rig, RIG_TARGET, ONEM2M_RETRIEVE, 0, path, "", RIG_NOW);
    CU_ASSERT_EQUAL(answer.rsc, RSC_OK);
    json_t *json = answer.content == NULL ? NULL : json_loads(answer.content, 0, NULL);
    CU_ASSERT_TRUE(json_is_true(json_object_get(json, "Status")));
    CU_ASSERT_STRING_EQUAL(text_of(json, "EnroleeID"), RIG_SOURCE);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json, "Lifetime")), 10);
    CU_ASSERT_STRING_NOT_EQUAL(text_of(json, "Credential"), "sLGys7S1tre4ubq7vL2+v8DBwsPExcbHyMnKy8zNzs8=");
    CU_ASSERT_EQUAL(strlen(text_of(json, "Credential")), 44);
    json_decref(json);
    procedure_answer_release(&answer);
    CU_ASSERT_EQUAL(ask(RIG_SOURCE, ONEM2M_RETRIEVE, 0, path, ""), RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_RETRIEVE, 0, "/fetchCredentials/" EXPORTED_ID "/21", ""),
                    RSC_ORIGINATOR_HAS_NO_PRIVILEGE);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_RETRIEVE, 0, "/fetchCredentials/" EXPORTED_ID "/32", ""), RSC_BAD_REQUEST);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_RETRIEVE, 0, "/fetchCredentials/" EXPORTED_ID, ""), RSC_BAD_REQUEST);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_RETRIEVE, 0, "/fetchCredentials/" EXPORTED_ID "@else.example/22", ""),
                    RSC_NOT_FOUND);
    CU_ASSERT_EQUAL(ask(RIG_TARGET, ONEM2M_DELETE, 0, path, ""), RSC_OPERATION_NOT_ALLOWED);
    tef_store_close(rig.store);
}

static void assigned_key(void)
{
    struct tef_rig own;
    struct procedure_answer answer;
    struct tef_store_key stored;
    struct tef_key km = {.key = "from an MEF", .key_len = 16, .expires_at = RIG_NOW + 100, .relative_key_id = "0A1B"};
    const struct procedure_peer peer = {.client_id = RIG_SOURCE, .km = &km};
    const struct procedure_request request = {
        .operation = ONEM2M_CREATE,
        .type = 1,
        .target = slice_text("/"),
        .content = slice_text("{\"sec:mafClientReg\":{\"adminFQDN\":\"" RIG_ADMIN "\"}}")};
    CU_ASSERT_TRUE_FATAL(rig_open(&own, TEF_MAF));
    for (int i = 0; i < 2; i++) { // a second time it stays as it is
        procedure_run(&own.settings, &own.settings.functions[0], own.store, &peer, &request, RIG_NOW, &answer);
        CU_ASSERT_EQUAL(answer.rsc, RSC_CREATED);
        CU_ASSERT_PTR_NOT_NULL_FATAL(answer.content);
        CU_ASSERT_PTR_NOT_NULL(strstr(answer.content, "\"assignedSymmKeyID\":\"0A1B@maf.sp.example\""));
        CU_ASSERT_PTR_NULL(strstr(answer.content, "keyValue"));
        procedure_answer_release(&answer);
    }
    CU_ASSERT_EQUAL(tef_store_key_find(own.store, TEF_MAF, slice_text("0A1B"), RIG_NOW + 99, &stored), SAGATE_OK);
    CU_ASSERT_EQUAL(stored.key.suid, TEF_SUID_KM);
    CU_ASSERT_STRING_EQUAL(stored.key.source_id, RIG_SOURCE);
    CU_ASSERT_EQUAL(memcmp(stored.key.key, km.key, 16), 0);
    CU_ASSERT_EQUAL(tef_store_key_find(own.store, TEF_MAF, slice_text("0A1B"), RIG_NOW + 100, &stored),
                    SAGATE_ENOTFOUND);
    // Nobody's to fetch, to change or to delete.
    for (int operation = ONEM2M_RETRIEVE; operation <= ONEM2M_DELETE; operation++) {
        answer = rig_run(&own, RIG_SOURCE, (enum onem2m_operation)operation, 0, "/0A1B", "", RIG_NOW);
        CU_ASSERT_EQUAL(answer.rsc, RSC_NOT_FOUND);
        procedure_answer_release(&answer);
    }
    tef_store_close(own.store);
}

static const struct unit_test tests[] = {
    {"exported keys are for the target", exported_keys_are_for_the_target},
    {"registrations are checked", registrations_are_checked},
    {"given keys are limited in time and number", given_keys_are_limited_in_time_and_number},
    {"only the source changes a key", only_the_source_changes_a_key},
    {"clients register", clients_register},
    {"somebody else is no originator", somebody_else_is_no_originator},
    {"credentials are derived for who asks", credentials_are_derived_for_who_asks},
    {"assigned key", assigned_key},
};

UNIT_MAIN("tef_procedures", tests)
