// The demonstration CSE: what its files share. One thread, one libevent loop; small and honest, not a product.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_SUPPORT_DEMO_CSE_H
#define SAGATE_TESTS_SUPPORT_DEMO_CSE_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

enum { OP_CREATE = 1, OP_RETRIEVE, OP_UPDATE, OP_DELETE, OP_NOTIFY };
enum { TY_AE = 2, TY_CNT = 3, TY_CIN = 4, TY_CB = 5, TY_CSR = 16, TY_SUB = 23 };
enum { NET_UPDATE = 1, NET_DELETE, NET_CREATE_CHILD, NET_DELETE_CHILD }; // notificationEventType, TS-0004 6.3.4.2.19

// How a CSE may misbehave, for one request or for all (design: "a CSE that closes in mid-answer …").
enum fail_mode { FAIL_NONE, FAIL_CLOSE_MID_ANSWER, FAIL_ANSWER_TWICE, FAIL_NONSENSE, FAIL_NEVER, FAIL_RESET };

enum from_form { FROM_ANY, FROM_STEM, FROM_SP_RELATIVE, FROM_ABSOLUTE };

struct demo_options {
    const char *http, *coap; // address:port, NULL for none
    const char *cse_name, *cse_id, *sp_id, *admin;
    const char *record_file;
    bool one_recv, close_each, no_content_length, stray_crlf, chunked, proxy_v2;
    bool old_options, refuse_unknown_options, separate;
    enum from_form from;
    unsigned rqi_max; // 0: any
    unsigned delay_ms;
    enum fail_mode fail;
    unsigned fail_count;  // requests that still fail; 0: all
    char fail_match[128]; // only requests whose target contains this; "": all, and CoAP pings
};

struct resource {
    int ty;
    struct resource *parent, *first, *last, *next, *previous;
    json_t *attributes; // all of them, ri, rn, pi, ty, ct, lt included
    char creator[128];  // stem or SP-relative form of the originator that created it
};

struct demo {
    struct event_base *base;
    struct demo_options options;
    FILE *record;
    struct resource *root;
    json_t *index; // ri → address of the resource as an integer
    unsigned long counter;
    struct demo_http *http;
    struct demo_coap *coap;
};

// --- Primitives (demo_cse_primitive.c) ---------------------------------------------------------------------------

enum { PARAMETERS_MAX = 32 };
struct parameter {
    char name[16], value[240];
};

struct request {
    const char *binding; // "http" or "coap"
    int operation;       // 0 when it could not be told
    char to[1024];       // resource ID: CSE-relative, "/cse/…" or "//sp/cse/…"
    char target[1024];   // as it was received: HTTP request-target, or "/a/b?c" for CoAP
    bool has_from, has_rqi;
    char from[512], rqi[1024], rvi[16];
    int ty; // -1: absent
    size_t parameter_count;
    struct parameter parameters[PARAMETERS_MAX];
    bool json_type; // the content's media type is one that this CSE reads
    const uint8_t *body;
    size_t body_len;
};

struct answer {
    int rsc;
    json_t *content; // owned; NULL for none
    char location[1024];
};

// Carries the request out. Always fills *answer; the caller frees answer->content.
void primitive_handle(struct demo *demo, const struct request *request, struct answer *answer);

// Adds one parameter of a query ("name=value", percent-encoded).
void request_add_query(struct request *request, const char *text, size_t len);

const char *request_parameter(const struct request *request, const char *name); // NULL when absent
bool request_list_contains(const struct request *request, const char *name, const char *value);

// Percent-decodes at most `len` bytes into a NUL-terminated `out`; false when it does not fit or holds a NUL.
bool percent_decode(const char *text, size_t len, char *out, size_t cap);

int rsc_http_status(int rsc);
uint8_t rsc_coap_code(int rsc, int operation);

// --- Resources (demo_cse_resources.c) ----------------------------------------------------------------------------

enum virtual_name { VIRTUAL_NONE, VIRTUAL_LATEST, VIRTUAL_OLDEST };

int resources_init(struct demo *demo); // makes the CSEBase; 0 or -1
void resources_free(struct demo *demo);
const char *type_name(int ty); // "m2m:cnt"; NULL for a type that this CSE does not know

// The resource that `to` names in any of its forms, or NULL. *virtual_name tells "la" and "ol" apart; then the
// container is returned.
struct resource *resource_find(struct demo *demo, const char *to, enum virtual_name *virtual_name);
struct resource *resource_child(const struct resource *parent, const char *name);
struct resource *resource_latest(const struct resource *container);
struct resource *resource_oldest(const struct resource *container);
struct resource *resource_by_id(struct demo *demo, const char *ri);

// Takes over `attributes`. `ri` NULL: one is made; `rn` NULL: the same as ri.
struct resource *resource_add(struct demo *demo, struct resource *parent, int ty, const char *ri, const char *rn,
                              json_t *attributes);
void resource_remove(struct demo *demo, struct resource *resource);
void resource_address(const struct resource *resource, char *out, size_t cap); // structured, CSE-relative
const char *resource_ri(const struct resource *resource);
void timestamp_now(char out[20]);

// --- Notifications (demo_cse_notify.c) ---------------------------------------------------------------------------

// Something happened to `resource` (with `other`, its child, for the events about children): subscriptions and
// observations are served.
void notify_event(struct demo *demo, struct resource *resource, int net, struct resource *other);

// --- Bindings ----------------------------------------------------------------------------------------------------

int http_start(struct demo *demo, const char *address); // 0 or -1, with a message on stderr
void http_stop(struct demo *demo);
int coap_start(struct demo *demo, const char *address);
void coap_stop(struct demo *demo);
void coap_resource_changed(struct demo *demo, struct resource *resource);
void coap_resource_gone(struct demo *demo, const struct resource *resource);
// Sends a NOTIFY as a confirmable POST.
void coap_send_notify(struct demo *demo, const char *url, const char *rqi, const char *content);

// True, and counted, when this request is one that must fail now.
enum fail_mode demo_fail_now(struct demo *demo, const char *target);
// POST /__demo/mode: changes options at run time. False for content that it does not understand.
bool demo_set_mode(struct demo *demo, const uint8_t *body, size_t len);

// --- Record (demo_cse_record.c) ----------------------------------------------------------------------------------

int record_open(struct demo *demo); // 0 or -1
void record_close(struct demo *demo);
// A string, or {"hex": …} when the bytes are no UTF-8 text.
json_t *record_text(const void *data, size_t len);
// Writes one line; takes over `fields` (headers, options, …), which may be NULL.
void record_request(struct demo *demo, const char *event, const struct request *request, json_t *fields);

#endif
