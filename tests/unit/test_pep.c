// The originator check row by row, the forms of From towards a CSE, and what answers teach.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/pep/pep.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

enum who { NOBODY, FIXED, TWO_FIXED, WILD_C, WILD_ANY, NARROW, MIXED, CSE, CSE_S, WHO_COUNT };
enum what { RETRIEVE, AE, CSR, CONTAINER, UNKNOWN_OPERATION };

static struct stats stats;
static struct pep *pep;
static struct principal *principals[WHO_COUNT];

// The configuration holds strings that may be written to.
static char full_access_texts[4][32] = {"CAdmin", "//sp.example/Sponde", "/id-in/Croot", "admin"};
static char *full_access[] = {full_access_texts[0], full_access_texts[1], full_access_texts[2], full_access_texts[3]};
static char sp_id[] = "//sp.example";
static char cse_id[] = "/id-in";
static char upstream_name[] = "in";
static char other_name[] = "in2";
static struct config_upstream upstream;
static struct config_listener listener;

// What the events told last.
static struct {
    unsigned registered, deleted;
    const struct principal *principal;
    size_t upstream;
    char aei[256], resource_id[256], structured[1024], to[512];
    bool has_resource_id, has_structured;
} told;

static void keep(char *out, size_t cap, struct slice text)
{
    (void)snprintf(out, cap, "%.*s", (int)text.len, text.data == NULL ? "" : (const char *)text.data);
}

static void on_registered(void *context, const struct principal *principal, size_t index, struct slice aei,
                          struct slice resource_id, struct slice structured)
{
    CU_ASSERT_PTR_EQUAL(context, &told);
    told.registered++;
    told.principal = principal;
    told.upstream = index;
    keep(told.aei, sizeof told.aei, aei);
    keep(told.resource_id, sizeof told.resource_id, resource_id);
    keep(told.structured, sizeof told.structured, structured);
    told.has_resource_id = resource_id.data != NULL;
    told.has_structured = structured.data != NULL;
}

static void on_deleted(void *context, size_t index, struct slice to)
{
    CU_ASSERT_PTR_EQUAL(context, &told);
    told.deleted++;
    told.upstream = index;
    keep(told.to, sizeof told.to, to);
}

static struct principal *make(const char *credential, const char *cse, const char *const *stems)
{
    struct principal *principal = principal_new(FRAMEWORK_PSK, slice_text(credential), slice_text(cse));
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    for (; stems != NULL && *stems != NULL; stems++)
        CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text(*stems), slice_text("")), SAGATE_OK);
    return principal;
}

static void set_up(void)
{
    static const struct pep_events events = {&told, on_registered, on_deleted};
    memset(&stats, 0, sizeof stats);
    memset(&told, 0, sizeof told);
    upstream = (struct config_upstream){.name = upstream_name,
                                        .sp_id = sp_id,
                                        .cse_id = cse_id,
                                        .full_access_count = 4,
                                        .full_access_originators = full_access};
    pep = pep_new(&events, &stats);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pep);
    principals[NOBODY] = NULL;
    principals[FIXED] = make("12-fixed", "", (const char *const[]){"Cdev1", NULL});
    principals[TWO_FIXED] = make("12-two", "", (const char *const[]){"Cdev1", "Sdev1", NULL});
    principals[WILD_C] = make("12-wild", "", (const char *const[]){"C*", NULL});
    principals[WILD_ANY] = make("12-any", "", (const char *const[]){"*", NULL});
    principals[NARROW] = make("12-narrow", "", (const char *const[]){"Ctruck*", NULL});
    principals[MIXED] = make("12-mixed", "", (const char *const[]){"S*", "Cdev9", NULL});
    principals[CSE] = make("12-mn1", "/mn1", NULL);
    principals[CSE_S] = make("12-site", "/Site", NULL);
    static const struct slice registrees[] = {{(const uint8_t *)"/mn2", 4},
                                              {(const uint8_t *)"/mn1", 4},
                                              {(const uint8_t *)"/Site", 5},
                                              {(const uint8_t *)"//far.example/mn9", 17}};
    CU_ASSERT_EQUAL(pep_set_registrees(pep, registrees, 4), SAGATE_OK);
    CU_ASSERT_EQUAL(pep_add_owner(pep, slice_text("Cdev1"), slice_text(""), slice_text("12-fixed")), SAGATE_OK);
    CU_ASSERT_EQUAL(pep_add_owner(pep, slice_text("Cmine"), slice_text(""), slice_text("12-wild")), SAGATE_OK);
    CU_ASSERT_EQUAL(pep_add_owner(pep, slice_text("Cmine"), slice_text(""), slice_text("12-wild")), SAGATE_OK);
}

static void tear_down(void)
{
    for (size_t i = 0; i < WHO_COUNT; i++)
        principal_release(principals[i]);
    pep_free(pep);
}

static struct device device_of(enum who who)
{
    return (struct device){.association = 1,
                           .principal = principals[who],
                           .listener = &listener,
                           .upstream = &upstream,
                           .upstream_index = 3};
}

static struct primitive primitive_of(enum what what, const char *from)
{
    struct primitive primitive = {.operation = what == RETRIEVE            ? ONEM2M_RETRIEVE
                                               : what == UNKNOWN_OPERATION ? (enum onem2m_operation)0
                                                                           : ONEM2M_CREATE,
                                  .to = slice_text("cse-in"),
                                  .from = slice_text(from),
                                  .request_id = slice_text("1"),
                                  .ty = PRIMITIVE_TY_ABSENT};
    if (what == AE)
        primitive.ty = ONEM2M_TY_AE;
    if (what == CSR)
        primitive.ty = ONEM2M_TY_REMOTE_CSE;
    if (what == CONTAINER)
        primitive.ty = 3;
    return primitive;
}

static struct pep_verdict check(enum who who, enum what what, const char *from)
{
    struct device device = device_of(who);
    struct primitive primitive = primitive_of(what, from);
    struct pep_verdict verdict;
    memset(&verdict, 0xa5, sizeof verdict);
    CU_ASSERT_EQUAL(pep_check(pep, &device, &primitive, &verdict), SAGATE_OK);
    return verdict;
}

struct row {
    enum who who;
    enum what what;
    const char *from; // NULL: absent
    int rsc;
    enum stat_id refusal;   // when refused
    const char *forwarded;  // From towards the CSE; NULL: the one that came
    const char *originator; // absolute form
};

static void run_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        uint64_t before = row->rsc == 0 ? 0 : stats.counters[row->refusal];
        struct pep_verdict verdict = check(row->who, row->what, row->from);
        bool good = verdict.rsc == row->rsc;
        if (row->rsc != 0) {
            good = good && verdict.refusal == row->refusal && stats.counters[row->refusal] == before + 1 &&
                   verdict.debug != NULL && verdict.from_len == 0 && verdict.originator_len == 0;
        } else {
            const char *forwarded = row->forwarded != NULL ? row->forwarded : row->from;
            good = good && slice_is(slice_of(verdict.from, verdict.from_len), forwarded == NULL ? "" : forwarded) &&
                   slice_is(slice_of(verdict.originator, verdict.originator_len), row->originator);
        }
        CU_ASSERT_TRUE(good);
        if (!good)
            printf("\n  row %zu (from %s): %d\n", i, row->from == NULL ? "absent" : row->from, verdict.rsc);
    }
}

#define RUN(rows)      run_rows(rows, sizeof(rows) / sizeof *(rows))
#define NO_ASSOCIATION 4107, STAT_REFUSED_NO_ASSOCIATION, NULL, NULL
#define FROM_FORM      4000, STAT_REFUSED_FROM_FORM, NULL, NULL
#define FROM_MISSING   4000, STAT_REFUSED_FROM_MISSING, NULL, NULL
#define RESERVED       4106, STAT_REFUSED_RESERVED, NULL, NULL
#define ORIGINATOR     4106, STAT_REFUSED_ORIGINATOR, NULL, NULL
#define OPERATION(rsc) rsc, STAT_REFUSED_OPERATION, NULL, NULL
#define PASS(absolute) 0, STAT_COUNT, NULL, absolute

static void rows_for_everybody(void)
{
    static const struct row rows[] = {
        {NOBODY, RETRIEVE, "Cdev1", NO_ASSOCIATION},
        {NOBODY, AE, "C", NO_ASSOCIATION},
        {NOBODY, AE, NULL, NO_ASSOCIATION},
        {NOBODY, RETRIEVE, "not well-formed", NO_ASSOCIATION},
        {FIXED, RETRIEVE, "Cdev1 ", FROM_FORM},
        {FIXED, RETRIEVE, "Cdev1\r\n", FROM_FORM},
        {FIXED, RETRIEVE, "/id-in//Cdev1", FROM_FORM},
        {CSE, RETRIEVE, "//", FROM_FORM},
        {FIXED, AE, "C%41", FROM_FORM},
        {FIXED, RETRIEVE, NULL, FROM_MISSING},
        {FIXED, RETRIEVE, "", FROM_MISSING},
        {FIXED, CONTAINER, NULL, FROM_MISSING},
        {FIXED, CSR, NULL, FROM_MISSING},
        {CSE, RETRIEVE, NULL, FROM_MISSING},
        {FIXED, UNKNOWN_OPERATION, NULL, FROM_MISSING},
    };
    set_up();
    RUN(rows);
    tear_down();
}

static void reserved_originators_in_all_forms(void)
{
    static const char *const ids[] = {
        "id-in",
        "/id-in",
        "//sp.example/id-in",
        "CAdmin",
        "/id-in/CAdmin",
        "//sp.example/id-in/CAdmin",
        "/CAdmin",
        "Sponde",
        "/Sponde",
        "/id-in/Sponde",
        "//sp.example/Sponde",
        "Croot",
        "/id-in/Croot",
        "//sp.example/id-in/Croot",
        "admin",
        "/id-in/admin",
        "//sp.example/id-in/admin",
    };
    set_up();
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        for (enum who who = FIXED; who < WHO_COUNT; who++) {
            for (enum what what = RETRIEVE; what <= CONTAINER; what++) {
                struct pep_verdict verdict = check(who, what, ids[i]);
                CU_ASSERT_EQUAL(verdict.rsc, 4106);
                CU_ASSERT_EQUAL(verdict.refusal, STAT_REFUSED_RESERVED);
            }
        }
    }
    // Even where a credential names one.
    CU_ASSERT_EQUAL(principal_add_ae(principals[TWO_FIXED], slice_text("CAdmin"), slice_text("")), SAGATE_OK);
    CU_ASSERT_EQUAL(check(TWO_FIXED, RETRIEVE, "CAdmin").rsc, 4106);
    // Others that only resemble them pass.
    CU_ASSERT_EQUAL(check(CSE, RETRIEVE, "/mn1/CAdmin").rsc, 0);
    CU_ASSERT_EQUAL(check(CSE, RETRIEVE, "//other.example/id-in").rsc, 0);
    tear_down();
}

static void rows_for_an_ae(void)
{
    static const struct row rows[] = {
        {FIXED, RETRIEVE, "Cdev1", PASS("//sp.example/id-in/Cdev1")},
        {FIXED, CONTAINER, "Cdev1", PASS("//sp.example/id-in/Cdev1")},
        {TWO_FIXED, RETRIEVE, "Sdev1", PASS("//sp.example/Sdev1")},
        {FIXED, RETRIEVE, "Cdev2", ORIGINATOR},
        {FIXED, RETRIEVE, "Cdev", ORIGINATOR},
        {FIXED, RETRIEVE, "Cdev11", ORIGINATOR},
        {FIXED, RETRIEVE, "C", ORIGINATOR},
        {FIXED, RETRIEVE, "/id-in/Cdev1", FROM_FORM},
        {FIXED, RETRIEVE, "//sp.example/id-in/Cdev1", FROM_FORM},
        {FIXED, RETRIEVE, "/mn1", FROM_FORM},
        {FIXED, RETRIEVE, "Xdev1", FROM_FORM},
        {FIXED, AE, "/id-in/Cdev1", FROM_FORM},
        {FIXED, CSR, "Cdev1", OPERATION(4005)},
        {FIXED, CSR, "Cdev2", OPERATION(4005)},
        {WILD_C, RETRIEVE, "Canything", ORIGINATOR}, // a pattern says as what it may register, no more
        {WILD_C, CONTAINER, "Cdev1", ORIGINATOR},
    };
    set_up();
    RUN(rows);
    tear_down();
}

static void rows_for_a_registration(void)
{
    static const struct row rows[] = {
        {FIXED, AE, "Cdev1", PASS("//sp.example/id-in/Cdev1")},
        {FIXED, AE, "Cdev2", ORIGINATOR},
        {FIXED, AE, "C", ORIGINATOR}, // registration_substitute is off
        {FIXED, AE, NULL, ORIGINATOR},
        {WILD_C, AE, NULL, PASS("")},
        {WILD_C, AE, "", PASS("")},
        {WILD_C, AE, "C", PASS("")},
        {WILD_C, AE, "S", ORIGINATOR},
        {WILD_C, AE, "Cnew", PASS("//sp.example/id-in/Cnew")},
        {WILD_C, AE, "Cmine", PASS("//sp.example/id-in/Cmine")}, // its own already
        {WILD_C, AE, "Cdev1", ORIGINATOR},                       // another credential's
        {WILD_C, AE, "Snew", ORIGINATOR},
        {WILD_ANY, AE, "S", PASS("")},
        {WILD_ANY, AE, "C", PASS("")},
        {WILD_ANY, AE, NULL, PASS("")},
        {WILD_ANY, AE, "Snew", PASS("//sp.example/Snew")},
        {WILD_ANY, AE, "Cmine", ORIGINATOR},
        {NARROW, AE, "Ctruck7", PASS("//sp.example/id-in/Ctruck7")},
        {NARROW, AE, "Ccar7", ORIGINATOR},
        {NARROW, AE, "C", PASS("")},
        {MIXED, AE, "S", PASS("")},
        {MIXED, AE, "C", ORIGINATOR},
        {MIXED, AE, NULL, PASS("")},
        {MIXED, AE, "Cdev9", PASS("//sp.example/id-in/Cdev9")},
    };
    static const struct row substituted[] = {
        {FIXED, AE, "C", 0, STAT_COUNT, "Cdev1", "//sp.example/id-in/Cdev1"},
        {FIXED, AE, NULL, 0, STAT_COUNT, "Cdev1", "//sp.example/id-in/Cdev1"},
        {FIXED, AE, "S", ORIGINATOR},
        {TWO_FIXED, AE, "S", 0, STAT_COUNT, "Sdev1", "//sp.example/Sdev1"},
        {TWO_FIXED, AE, "C", 0, STAT_COUNT, "Cdev1", "//sp.example/id-in/Cdev1"},
        {TWO_FIXED, AE, NULL, ORIGINATOR}, // which of the two?
        {MIXED, AE, "C", 0, STAT_COUNT, "Cdev9", "//sp.example/id-in/Cdev9"},
        {MIXED, AE, "S", PASS("")},
        {WILD_C, AE, "C", PASS("")},
        {FIXED, RETRIEVE, "C", ORIGINATOR},
    };
    set_up();
    RUN(rows);
    upstream.registration_substitute = true;
    RUN(substituted);
    pep_remove_owner(pep, slice_text("Cdev1"), slice_text(""), slice_text("12-fixed"));
    CU_ASSERT_EQUAL(check(WILD_C, AE, "Cdev1").rsc, 0);
    pep_clear_owners(pep);
    CU_ASSERT_EQUAL(check(WILD_ANY, AE, "Cmine").rsc, 0);
    tear_down();
}

static void rows_for_a_cse(void)
{
    static const struct row rows[] = {
        {CSE, RETRIEVE, "/mn1", PASS("//sp.example/mn1")},
        {CSE, RETRIEVE, "//sp.example/mn1", PASS("//sp.example/mn1")},
        {CSE, RETRIEVE, "/mn1/Cdev1", PASS("//sp.example/mn1/Cdev1")},
        {CSE, RETRIEVE, "/Sdev1", PASS("//sp.example/Sdev1")},
        {CSE, RETRIEVE, "Sdev1", PASS("//sp.example/Sdev1")},
        {CSE, RETRIEVE, "/asn7/Cdev1", PASS("//sp.example/asn7/Cdev1")}, // behind it: in transit
        {CSE, RETRIEVE, "//far.example/mn8/Cdev1", PASS("//far.example/mn8/Cdev1")},
        {CSE, RETRIEVE, "Cdev1", ORIGINATOR},
        {CSE, RETRIEVE, "/id-in/Cdev1", ORIGINATOR}, // the same AE as a bare stem
        {CSE, RETRIEVE, "//sp.example/id-in/Cdev1", ORIGINATOR},
        {CSE, RETRIEVE, "/mn2", ORIGINATOR},
        {CSE, RETRIEVE, "//sp.example/mn2", ORIGINATOR},
        {CSE, RETRIEVE, "/mn2/Cdev1", ORIGINATOR},
        {CSE, RETRIEVE, "//sp.example/mn2/Cdev1", ORIGINATOR},
        {CSE, RETRIEVE, "/Site", ORIGINATOR},
        {CSE, RETRIEVE, "//far.example/mn9", ORIGINATOR},
        {CSE, RETRIEVE, "//far.example/mn9/Cdev1", ORIGINATOR},
        {CSE, RETRIEVE, "mn1/Cdev1", FROM_FORM},
        {CSE, RETRIEVE, "mn2", FROM_FORM},
        {CSE, AE, "/mn1/Cdev1", OPERATION(4000)},
        {CSE, AE, NULL, OPERATION(4000)},
        {CSE, AE, "S", OPERATION(4000)},
        {CSE, CSR, "/mn1", PASS("//sp.example/mn1")},
        {CSE, CSR, "//sp.example/mn1", PASS("//sp.example/mn1")},
        {CSE, CSR, "/mn2", 4107, STAT_REFUSED_ORIGINATOR, NULL, NULL},
        {CSE, CSR, "/new", 4107, STAT_REFUSED_ORIGINATOR, NULL, NULL},
        {CSE, CSR, "Cdev1", OPERATION(4005)},
        {CSE, CSR, "/mn1/Cdev1", OPERATION(4005)},
        {CSE, CSR, "/Sdev1", OPERATION(4005)},
        {CSE, CSR, "/Site", 4107, STAT_REFUSED_ORIGINATOR, NULL, NULL},
        {CSE_S, CSR, "/Site", PASS("//sp.example/Site")},
        {CSE_S, RETRIEVE, "/Site/C1", PASS("//sp.example/Site/C1")},
    };
    set_up();
    RUN(rows);
    tear_down();
}

static void from_has_the_form_that_the_cse_wants(void)
{
    static const struct row sp_relative[] = {
        {FIXED, RETRIEVE, "Cdev1", 0, STAT_COUNT, "/id-in/Cdev1", "//sp.example/id-in/Cdev1"},
        {TWO_FIXED, RETRIEVE, "Sdev1", 0, STAT_COUNT, "/Sdev1", "//sp.example/Sdev1"},
        {WILD_C, AE, "C", 0, STAT_COUNT, "C", ""},
        {WILD_C, AE, NULL, 0, STAT_COUNT, "", ""},
        {FIXED, AE, "C", 0, STAT_COUNT, "/id-in/Cdev1", "//sp.example/id-in/Cdev1"},
        {CSE, RETRIEVE, "/mn1", 0, STAT_COUNT, "/mn1", "//sp.example/mn1"},
        {CSE, RETRIEVE, "//far.example/mn8", 0, STAT_COUNT, "//far.example/mn8", "//far.example/mn8"},
    };
    static const struct row absolute[] = {
        {FIXED, RETRIEVE, "Cdev1", 0, STAT_COUNT, "//sp.example/id-in/Cdev1", "//sp.example/id-in/Cdev1"},
        {TWO_FIXED, RETRIEVE, "Sdev1", 0, STAT_COUNT, "//sp.example/Sdev1", "//sp.example/Sdev1"},
        {WILD_C, AE, "C", 0, STAT_COUNT, "C", ""},
        {CSE, RETRIEVE, "/mn1/C1", 0, STAT_COUNT, "//sp.example/mn1/C1", "//sp.example/mn1/C1"},
    };
    set_up();
    upstream.registration_substitute = true;
    upstream.from_form = CONFIG_FROM_SP_RELATIVE;
    RUN(sp_relative);
    upstream.from_form = CONFIG_FROM_ABSOLUTE;
    RUN(absolute);
    tear_down();
}

static void second_originators_are_told_apart(void)
{
    static const struct {
        enum who who;
        enum what what;
        const char *from, *second;
        int rsc;
    } rows[] = {
        {FIXED, RETRIEVE, "Cdev1", "Cdev1", 0},
        {FIXED, RETRIEVE, "Cdev1", "/id-in/Cdev1", 0},
        {FIXED, RETRIEVE, "Cdev1", "//sp.example/id-in/Cdev1", 0},
        {FIXED, RETRIEVE, "Cdev1", "Cdev2", 4106},
        {FIXED, RETRIEVE, "Cdev1", "/mn1", 4106},
        {FIXED, RETRIEVE, "Cdev1", "CAdmin", 4106},
        {FIXED, RETRIEVE, "Cdev1", "/id-in", 4106},
        {FIXED, RETRIEVE, "Cdev1", "", 4000},
        {FIXED, RETRIEVE, "Cdev1", " Cdev1", 4000},
        {TWO_FIXED, RETRIEVE, "Cdev1", "Sdev1", 4000},
        {TWO_FIXED, RETRIEVE, "Cdev1", "//sp.example/Sdev1", 4000},
        {TWO_FIXED, RETRIEVE, "Cdev1", "/id-in/Cdev7", 4106},
        {WILD_C, AE, "C", "C", 0},
        {WILD_C, AE, "C", "Cnew", 4000},
        {WILD_C, AE, NULL, "", 0},
        {WILD_C, AE, NULL, "Cdev1", 4106},
        {CSE, RETRIEVE, "/mn1", "//sp.example/mn1", 0},
        {CSE, RETRIEVE, "/mn1", "/mn1/C1", 4000},
        {CSE, RETRIEVE, "/mn1", "/mn2", 4106},
    };
    set_up();
    for (enum config_from_form form = CONFIG_FROM_STEM; form <= CONFIG_FROM_ABSOLUTE; form++) {
        upstream.from_form = form;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct device device = device_of(rows[i].who);
            struct primitive primitive = primitive_of(rows[i].what, rows[i].from);
            struct pep_verdict verdict = check(rows[i].who, rows[i].what, rows[i].from);
            uint64_t before = stats.counters[STAT_REFUSED_SECOND_ORIGINATOR];
            CU_ASSERT_EQUAL(verdict.rsc, 0);
            int rsc = pep_check_second(pep, &device, &primitive, &verdict, slice_text(rows[i].second));
            CU_ASSERT_EQUAL(rsc, rows[i].rsc);
            CU_ASSERT_EQUAL(stats.counters[STAT_REFUSED_SECOND_ORIGINATOR], before + (rsc != 0));
            if (rsc != rows[i].rsc)
                printf("\n  row %zu: %d\n", i, rsc);
        }
    }
    tear_down();
}

// Plays a registration: what is asked, and the CSE's answer.
static void answer(enum who who, const char *from, const char *to, int rsc, const char *content, size_t len)
{
    struct primitive primitive = primitive_of(AE, from);
    struct pep_verdict verdict = check(who, AE, from);
    struct pep_pending pending;
    primitive.to = slice_text(to);
    CU_ASSERT_EQUAL(verdict.rsc, 0);
    CU_ASSERT_TRUE(pep_wants_answer(&primitive, &verdict, &pending));
    pep_answer(pep, principals[who], 3, &upstream, &pending, rsc, slice_of(content, len));
}

static void remove_resource(enum who who, const char *to, int rsc)
{
    struct primitive primitive = {.operation = ONEM2M_DELETE, .to = slice_text(to), .ty = PRIMITIVE_TY_ABSENT};
    struct pep_verdict verdict = {0};
    struct pep_pending pending;
    CU_ASSERT_TRUE(pep_wants_answer(&primitive, &verdict, &pending));
    pep_answer(pep, principals[who], 3, &upstream, &pending, rsc, slice_of(NULL, 0));
}

static void registrations_are_learned_and_forgotten(void)
{
    static const char json[] = "{\"m2m:ae\":{\"rn\":\"dev\",\"ri\":\"r17\",\"aei\":\"Cx17\"}}";
    set_up();
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 4106);
    answer(WILD_C, "C", "/id-in/cse-in", 2001, json, sizeof json - 1);
    CU_ASSERT_EQUAL(told.registered, 1);
    CU_ASSERT_PTR_EQUAL(told.principal, principals[WILD_C]);
    CU_ASSERT_EQUAL(told.upstream, 3);
    CU_ASSERT_STRING_EQUAL(told.aei, "Cx17");
    CU_ASSERT_STRING_EQUAL(told.resource_id, "r17");
    CU_ASSERT_STRING_EQUAL(told.structured, "cse-in/dev");
    CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_LEARNED], 1);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    CU_ASSERT_EQUAL(check(WILD_ANY, AE, "Cx17").rsc, 4106); // nobody else's any more
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Cx17").rsc, 4106);

    remove_resource(WILD_C, "cse-in/dev/cnt", 2002);
    CU_ASSERT_EQUAL(told.deleted, 1);
    CU_ASSERT_STRING_EQUAL(told.to, "cse-in/dev/cnt");
    remove_resource(WILD_C, "cse-in/dev/Cx17", 2002); // a container that has the name
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    remove_resource(WILD_C, "cse-in/Cx17", 4103);
    CU_ASSERT_EQUAL(told.deleted, 2);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    remove_resource(WILD_C, "//sp.example/id-in/cse-in/Cx17", 2002);
    CU_ASSERT_EQUAL(told.deleted, 3);
    CU_ASSERT_STRING_EQUAL(told.to, "cse-in/Cx17");
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 4106);
    CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_FORGOTTEN], 1);
    CU_ASSERT_EQUAL(check(WILD_ANY, AE, "Cx17").rsc, 0);
    remove_resource(FIXED, "Cdev1", 2002); // configured: stays
    CU_ASSERT_EQUAL(check(FIXED, RETRIEVE, "Cdev1").rsc, 0);
    remove_resource(NOBODY, "/mn1/x", 2002);
    CU_ASSERT_STRING_EQUAL(told.to, "/mn1/x");
    tear_down();
}

static void what_is_learned_holds_at_its_upstream_alone(void)
{
    set_up();
    answer(WILD_C, "Cx17", "cse-in", 2001, NULL, 0);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    // The CSE of another listener may know somebody else by that name.
    upstream.name = other_name;
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 4106);
    CU_ASSERT_EQUAL(check(FIXED, RETRIEVE, "Cdev1").rsc, 0); // configured: everywhere
    CU_ASSERT_EQUAL(check(WILD_ANY, AE, "Cdev1").rsc, 4106); // so is its owner
    answer(WILD_ANY, "Cx17", "cse-in", 2001, NULL, 0);
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Cx17").rsc, 0);
    CU_ASSERT_EQUAL(check(WILD_C, AE, "Cx17").rsc, 4106);
    remove_resource(WILD_C, "Cx17", 2002); // has it at the first upstream only
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Cx17").rsc, 0);
    upstream.name = upstream_name;
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Cx17").rsc, 4106);
    CU_ASSERT_EQUAL(check(WILD_ANY, AE, "Cx17").rsc, 4106);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    // Registered at both, deleted at one.
    upstream.name = other_name;
    remove_resource(WILD_ANY, "Cx17", 2002);
    answer(WILD_C, "Cx17", "cse-in", 2001, NULL, 0);
    CU_ASSERT_EQUAL(principals[WILD_C]->ae_count, 3);
    remove_resource(WILD_C, "Cx17", 2002);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 4106);
    upstream.name = upstream_name;
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 0);
    tear_down();
}

static void equal_addresses_look_the_same(void)
{
    static const char json[] = "{\"m2m:ae\":{\"rn\":\"dev\",\"aei\":\"Cx17\"}}";
    static const struct {
        const char *to, *told;
    } rows[] = {
        {"cse-in/%64e%76", "cse-in/dev"},
        {"cse%2Din/%7e%5F%2e", "cse-in/~_."},
        {"/id%2din/cse-in/%43x17", "cse-in/Cx17"},
        {"%7E/id-in/cse-in/dev", "cse-in/dev"},
        {"%5f/sp.example/id-in/cse-in/dev", "cse-in/dev"},
        // Not unreserved, or no encoding at all.
        {"cse-in%2Fdev", "cse-in%2Fdev"},
        {"cse-in/%2564ev", "cse-in/%2564ev"},
        {"cse-in/%00%C3%A4", "cse-in/%00%C3%A4"},
        {"cse-in/%6", "cse-in/%6"},
        {"cse-in/%6gx%g6%", "cse-in/%6gx%g6%"},
    };
    static char address[520];
    struct pep_pending pending;
    struct pep_verdict verdict = {0};
    set_up();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        remove_resource(NOBODY, rows[i].to, 2002);
        CU_ASSERT_STRING_EQUAL(told.to, rows[i].told);
    }
    answer(WILD_C, "C", "/id-in/%63se-in", 2001, json, sizeof json - 1);
    CU_ASSERT_STRING_EQUAL(told.structured, "cse-in/dev");
    remove_resource(WILD_C, "/id-in/%43x17", 2002);
    CU_ASSERT_EQUAL(check(WILD_C, RETRIEVE, "Cx17").rsc, 4106);
    // Only what it is when decoded has to fit.
    memset(address, 'a', sizeof address);
    memcpy(address, "%61%61%61%61", 12);
    struct primitive primitive = {.operation = ONEM2M_DELETE, .to = slice_of(address, sizeof address)};
    CU_ASSERT_TRUE(pep_wants_answer(&primitive, &verdict, &pending));
    CU_ASSERT_EQUAL(pending.to_len, 512);
    address[0] = 'a';
    CU_ASSERT_FALSE(pep_wants_answer(&primitive, &verdict, &pending));
    tear_down();
}

static void answers_teach_in_every_serialisation_and_form(void)
{
    static const char cbor[] = "\xa1\x66"
                               "m2m:ae"
                               "\xa2\x63"
                               "aei"
                               "\x66"
                               "/Sx001"
                               "\x62"
                               "ri"
                               "\x42"
                               "r1";
    static const char xml[] = "<m2m:ae rn=\"dev\"><ri>r2</ri><aei>//sp.example/id-in/Cx002</aei></m2m:ae>";
    static const char relative[] = "{\"m2m:ae\":{\"aei\":\"/id-in/Cx003\",\"rn\":\"dev\"}}";
    set_up();
    answer(WILD_ANY, "S", "cse-in", 2001, cbor, sizeof cbor - 1);
    CU_ASSERT_STRING_EQUAL(told.aei, "Sx001");
    CU_ASSERT_STRING_EQUAL(told.resource_id, "r1");
    CU_ASSERT_FALSE(told.has_structured);
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Sx001").rsc, 0);
    answer(WILD_ANY, NULL, "cse-in", 2001, xml, sizeof xml - 1);
    CU_ASSERT_STRING_EQUAL(told.aei, "Cx002");
    CU_ASSERT_STRING_EQUAL(told.resource_id, "r2");
    answer(WILD_ANY, "", "/id-in", 2001, relative, sizeof relative - 1);
    CU_ASSERT_STRING_EQUAL(told.aei, "Cx003");
    CU_ASSERT_FALSE(told.has_resource_id);
    CU_ASSERT_STRING_EQUAL(told.structured, "-/dev");
    // No content, but a full stem was asked for.
    upstream.from_form = CONFIG_FROM_ABSOLUTE;
    answer(WILD_ANY, "Cx004", "-/", 2001, NULL, 0);
    CU_ASSERT_STRING_EQUAL(told.aei, "Cx004");
    CU_ASSERT_FALSE(told.has_structured);
    CU_ASSERT_EQUAL(check(WILD_ANY, RETRIEVE, "Cx004").rsc, 0);
    CU_ASSERT_EQUAL(told.registered, 4);
    CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_LEARNED], 4);
    CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_UNLEARNED], 0);
    // A configured AE-ID is told, and nothing is learned.
    answer(FIXED, "Cdev1", "cse-in", 2001, NULL, 0);
    CU_ASSERT_EQUAL(told.registered, 5);
    CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_LEARNED], 4);
    tear_down();
}

static void answers_that_teach_nothing(void)
{
    static const struct {
        enum who who;
        const char *from;
        int rsc;
        const char *content;
        bool counted;
    } rows[] = {
        {WILD_C, "C", 4117, "{\"m2m:ae\":{\"aei\":\"Cx1\"}}", false},
        {WILD_C, "C", 2001, "", true},
        {WILD_C, "C", 2001, "{\"m2m:uri\":\"cse-in/dev\"}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"Cx1\"}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":17}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"C\"}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"x y\"}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"/mn1/Cx1\"}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"//other.example/Sx1\"}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"Cx1\",\"aei\":\"Cx2\"}}", true},
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"Cdev1\"}}", true},  // another credential's
        {WILD_C, "C", 2001, "{\"m2m:ae\":{\"aei\":\"CAdmin\"}}", true}, // reserved
        {WILD_C, "Cx1", 2001, "{\"m2m:ae\":{\"aei\":\"Sx1\"}}", true},  // neither asked for nor admitted
        {WILD_C, "Cx1", 2001, "{\"m2m:ae\":", true},
        {FIXED, "Cdev1", 2001, "{\"m2m:ae\":{\"aei\":\"Cx1\"}}", true},
    };
    set_up();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t before = stats.counters[STAT_REGISTRATIONS_UNLEARNED];
        answer(rows[i].who, rows[i].from, "cse-in", rows[i].rsc, rows[i].content, strlen(rows[i].content));
        CU_ASSERT_EQUAL(stats.counters[STAT_REGISTRATIONS_UNLEARNED], before + rows[i].counted);
        CU_ASSERT_EQUAL(told.registered, 0);
        CU_ASSERT_EQUAL(principals[rows[i].who]->ae_count, 1);
    }
    tear_down();
}

static void answers_are_wanted_for_registrations_and_deletes(void)
{
    static char address[600];
    struct pep_pending pending;
    set_up();
    struct pep_verdict verdict = check(FIXED, RETRIEVE, "Cdev1");
    struct primitive primitive = primitive_of(RETRIEVE, "Cdev1");
    CU_ASSERT_FALSE(pep_wants_answer(&primitive, &verdict, &pending));
    primitive = primitive_of(CONTAINER, "Cdev1");
    CU_ASSERT_FALSE(pep_wants_answer(&primitive, &verdict, &pending));
    pep_answer(pep, principals[FIXED], 3, &upstream, &pending, 2001, slice_of(NULL, 0));
    CU_ASSERT_EQUAL(told.registered, 0);
    // An address too long to remember: a registration is learned without it, a DELETE goes by unseen.
    memset(address, 'a', sizeof address);
    primitive = primitive_of(AE, "Cdev1");
    primitive.to = slice_of(address, sizeof address);
    CU_ASSERT_TRUE(pep_wants_answer(&primitive, &verdict, &pending));
    CU_ASSERT_EQUAL(pending.to_len, 0);
    primitive.operation = ONEM2M_DELETE;
    CU_ASSERT_FALSE(pep_wants_answer(&primitive, &verdict, &pending));
    tear_down();
}

static void many_owners_are_found(void)
{
    char stem[32];
    set_up();
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(stem, sizeof stem, "Cowned%u", i);
        CU_ASSERT_EQUAL_FATAL(pep_add_owner(pep, slice_text(stem), slice_text(""), slice_text("12-other")), SAGATE_OK);
    }
    for (unsigned i = 0; i < 5000; i += 2) {
        (void)snprintf(stem, sizeof stem, "Cowned%u", i);
        pep_remove_owner(pep, slice_text(stem), slice_text(""), slice_text("12-other"));
    }
    for (unsigned i = 0; i < 5000; i += 7) {
        (void)snprintf(stem, sizeof stem, "Cowned%u", i);
        CU_ASSERT_EQUAL(check(WILD_C, AE, stem).rsc, i % 2 == 0 ? 0 : 4106);
    }
    tear_down();
}

static const struct unit_test tests[] = {
    {"rows for everybody", rows_for_everybody},
    {"reserved originators in all forms", reserved_originators_in_all_forms},
    {"rows for an AE", rows_for_an_ae},
    {"rows for a registration", rows_for_a_registration},
    {"rows for a CSE", rows_for_a_cse},
    {"From has the form that the CSE wants", from_has_the_form_that_the_cse_wants},
    {"second originators are told apart", second_originators_are_told_apart},
    {"registrations are learned and forgotten", registrations_are_learned_and_forgotten},
    {"what is learned holds at its upstream alone", what_is_learned_holds_at_its_upstream_alone},
    {"equal addresses look the same", equal_addresses_look_the_same},
    {"answers teach in every serialisation and form", answers_teach_in_every_serialisation_and_form},
    {"answers that teach nothing", answers_that_teach_nothing},
    {"answers are wanted for registrations and deletes", answers_are_wanted_for_registrations_and_deletes},
    {"many owners are found", many_owners_are_found},
};

UNIT_MAIN("pep", tests)
