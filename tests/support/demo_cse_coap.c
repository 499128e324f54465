// The demonstration CSE's CoAP server (RFC 7252, 7641, 7959; TS-0008): messages, exchanges, observations, blocks.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"
#include "demo_cse_codec.h"

#include <errno.h>
#include <event2/http.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXCHANGES = 8192,
    BODIES = 32,
    EXCHANGE_LIFETIME_S = 247,
    ACK_TIMEOUT_S = 2,
    MAX_RETRANSMIT = 4,
    BODY_MAX = 1 << 20
};
enum {
    CODE_CONTINUE = 0x5f,
    CODE_BAD_OPTION = 0x82,
    CODE_INCOMPLETE = 0x88,
    CODE_TOO_LARGE = 0x8d,
    CODE_PROXYING = 0xa5
};

struct peer {
    struct sockaddr_storage address;
    socklen_t len;
};

// A message seen, for duplicate detection.
struct exchange {
    struct peer peer;
    uint16_t id;
    time_t until;
    uint8_t *answer; // NULL while there is none
    size_t answer_len;
    unsigned long serial;
};

// A body that comes or goes in blocks.
struct body {
    struct peer peer;
    uint64_t key;
    uint8_t *bytes;
    size_t len;
    int rsc;
};

struct outgoing {
    struct demo *demo;
    struct outgoing *next, *previous;
    struct event *timer;
    struct peer peer;
    uint8_t bytes[COAP_ANSWER_MAX];
    size_t len;
    uint16_t id;
    bool confirmable, sent;
    unsigned tries;
    size_t exchange; // index + 1 of the exchange that this answers; 0: none
    unsigned long serial;
};

struct observer {
    struct observer *next;
    struct peer peer;
    uint8_t token[8], token_len;
    uint16_t last_id;
    uint32_t sequence;
    const struct resource *resource;
    struct request request;
};

struct demo_coap {
    evutil_socket_t fd;
    struct event *readable;
    uint16_t next_id;
    unsigned long serial;
    size_t next_in, next_out;
    struct exchange exchanges[EXCHANGES];
    struct body in[BODIES], out[BODIES];
    struct outgoing *outgoing;
    struct observer *observers;
    uint8_t datagram[COAP_DATAGRAM_MAX];
};

struct numbers {
    uint16_t from, rqi, ty, rvi, rsc;
};

static const struct numbers *numbers_of(const struct demo *demo)
{
    static const struct numbers current = {279, 283, 267, 271, 307}, old = {256, 257, 267, 0, 265};
    return demo->options.old_options ? &old : &current;
}

static bool same_peer(const struct peer *a, const struct peer *b)
{
    return evutil_sockaddr_cmp((const struct sockaddr *)&a->address, (const struct sockaddr *)&b->address, 1) == 0;
}

static void emit(struct demo *demo, const struct peer *peer, const void *bytes, size_t len)
{
    // A full socket buffer loses the datagram, as the network may.
    ssize_t sent = sendto(demo->coap->fd, bytes, len, 0, (const struct sockaddr *)&peer->address, peer->len);
    (void)sent;
}

static void emit_empty(struct demo *demo, const struct peer *peer, uint8_t type, uint16_t id)
{
    uint8_t bytes[4] = {(uint8_t)(0x40 | type << 4), 0, (uint8_t)(id >> 8), (uint8_t)id};
    emit(demo, peer, bytes, sizeof bytes);
}

// --- Outgoing messages -------------------------------------------------------------------------------------------

static void outgoing_free(struct outgoing *out)
{
    if (out->previous != NULL)
        out->previous->next = out->next;
    else
        out->demo->coap->outgoing = out->next;
    if (out->next != NULL)
        out->next->previous = out->previous;
    event_free(out->timer);
    free(out);
}

static void observer_remove(struct demo *demo, struct observer **link)
{
    struct observer *gone = *link;
    (void)demo;
    *link = gone->next;
    free(gone);
}

static void observers_drop_id(struct demo *demo, const struct peer *peer, uint16_t id)
{
    for (struct observer **link = &demo->coap->observers; *link != NULL;) {
        if ((*link)->last_id == id && same_peer(&(*link)->peer, peer))
            observer_remove(demo, link);
        else
            link = &(*link)->next;
    }
}

static void outgoing_fire(evutil_socket_t fd, short what, void *arg)
{
    struct outgoing *out = arg;
    struct demo_coap *coap = out->demo->coap;
    (void)fd;
    (void)what;
    if (out->tries > MAX_RETRANSMIT) {
        observers_drop_id(out->demo, &out->peer, out->id);
        outgoing_free(out);
        return;
    }
    emit(out->demo, &out->peer, out->bytes, out->len);
    out->sent = true;
    if (out->exchange > 0 && coap->exchanges[out->exchange - 1].serial == out->serial) {
        struct exchange *exchange = &coap->exchanges[out->exchange - 1];
        free(exchange->answer);
        exchange->answer = malloc(out->len);
        exchange->answer_len = out->len;
        if (exchange->answer != NULL)
            memcpy(exchange->answer, out->bytes, out->len);
        out->exchange = 0;
    }
    if (!out->confirmable) {
        outgoing_free(out);
        return;
    }
    struct timeval timeout = {(time_t)ACK_TIMEOUT_S << out->tries++, 0};
    event_add(out->timer, &timeout);
}

// Sends now or later; a confirmable message is sent again until it is acknowledged.
static void send_message(struct demo *demo, const struct peer *peer, const struct coap_writer *w, bool confirmable,
                         unsigned delay_ms, size_t exchange, unsigned long serial)
{
    struct outgoing *out = calloc(1, sizeof *out);
    if (out == NULL)
        return;
    out->demo = demo;
    out->peer = *peer;
    memcpy(out->bytes, w->bytes, w->len);
    out->len = w->len;
    out->id = (uint16_t)(w->bytes[2] << 8 | w->bytes[3]);
    out->confirmable = confirmable;
    out->exchange = exchange;
    out->serial = serial;
    out->timer = evtimer_new(demo->base, outgoing_fire, out);
    out->next = demo->coap->outgoing;
    if (out->next != NULL)
        out->next->previous = out;
    demo->coap->outgoing = out;
    if (delay_ms == 0) {
        outgoing_fire(-1, 0, out);
    } else {
        struct timeval delay = {delay_ms / 1000, (suseconds_t)(delay_ms % 1000) * 1000};
        event_add(out->timer, &delay);
    }
}

static void acknowledged(struct demo *demo, const struct peer *peer, uint16_t id)
{
    for (struct outgoing *out = demo->coap->outgoing; out != NULL; out = out->next) {
        if (out->sent && out->id == id && same_peer(&out->peer, peer)) {
            outgoing_free(out);
            return;
        }
    }
}

// --- Exchanges and bodies ----------------------------------------------------------------------------------------

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 1099511628211ULL;
    return hash;
}

static uint64_t peer_hash(const struct peer *peer)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer->address;
    return mix(14695981039346656037ULL, &v4->sin_port, sizeof v4->sin_port);
}

// The place of this message; *duplicate tells that it has been seen.
static size_t exchange_place(struct demo_coap *coap, const struct peer *peer, uint16_t id, bool *duplicate)
{
    size_t place = mix(peer_hash(peer), &id, sizeof id) % EXCHANGES;
    struct exchange *exchange = &coap->exchanges[place];
    time_t now = time(NULL);
    *duplicate = exchange->until >= now && exchange->id == id && same_peer(&exchange->peer, peer);
    if (!*duplicate) {
        free(exchange->answer);
        *exchange = (struct exchange){*peer, id, now + EXCHANGE_LIFETIME_S, NULL, 0, ++coap->serial};
    }
    return place;
}

static uint64_t body_key(const struct request *request)
{
    uint64_t key = mix(14695981039346656037ULL, request->target, strlen(request->target));
    return mix(mix(key, request->from, strlen(request->from)), &request->operation, sizeof request->operation);
}

static struct body *body_find(struct body *table, const struct peer *peer, uint64_t key)
{
    for (size_t i = 0; i < BODIES; i++)
        if (table[i].bytes != NULL && table[i].key == key && same_peer(&table[i].peer, peer))
            return &table[i];
    return NULL;
}

static struct body *body_new(struct body *table, size_t *next, const struct peer *peer, uint64_t key)
{
    struct body *body = body_find(table, peer, key);
    if (body == NULL)
        body = &table[(*next)++ % BODIES];
    free(body->bytes);
    *body = (struct body){.peer = *peer, .key = key};
    body->bytes = malloc(1);
    return body;
}

static bool body_append(struct body *body, const uint8_t *bytes, size_t len)
{
    uint8_t *grown = body->len + len > BODY_MAX ? NULL : realloc(body->bytes, body->len + len + 1);
    if (grown == NULL)
        return false;
    body->bytes = grown;
    if (len > 0)
        memcpy(grown + body->len, bytes, len);
    body->len += len;
    return true;
}

// --- Requests ----------------------------------------------------------------------------------------------------

// The number of an option that makes this CSE answer 4.02; 0 for none.
static unsigned bad_option(const struct demo *demo, const struct coap_message *m)
{
    static const uint16_t base[] = {1, 3, 4, 5, 6, 7, 11, 12, 14, 15, 17, 23, 27, 28, 60};
    static const uint16_t strict[] = {279, 283, 307, 267, 319, 323, 271};
    uint16_t previous = 0;
    for (size_t i = 0; i < m->option_count; i++) {
        uint16_t number = m->options[i].number;
        bool known = false, one_m2m = demo->options.old_options
                                          ? number >= 256 && number <= 270
                                          : number >= 259 && number <= 351 && (number - 259) % 4 == 0;
        for (size_t b = 0; b < sizeof base / sizeof base[0]; b++)
            known = known || base[b] == number;
        if (demo->options.refuse_unknown_options && !demo->options.old_options) {
            one_m2m = false;
            for (size_t s = 0; s < sizeof strict / sizeof strict[0]; s++)
                one_m2m = one_m2m || strict[s] == number;
        }
        if (!known && !one_m2m && ((number & 1) == 1 || demo->options.refuse_unknown_options))
            return number;
        if (number == previous && (number & 1) == 1 && number != OPTION_URI_PATH && number != OPTION_URI_QUERY &&
            number != 1)
            return number;
        previous = number;
    }
    return 0;
}

static void copy_option(char *out, size_t cap, const struct coap_option *option)
{
    snprintf(out, cap, "%.*s", (int)option->len, (const char *)option->value);
}

static void append_text(char *out, size_t cap, const char *prefix, const struct coap_option *option)
{
    size_t len = strlen(out);
    snprintf(out + len, cap - len, "%s%.*s", prefix, (int)option->len, (const char *)option->value);
}

static void to_request(const struct demo *demo, const struct coap_message *m, struct request *request)
{
    static const int operations[] = {0, OP_RETRIEVE, OP_CREATE, OP_UPDATE, OP_DELETE};
    const struct numbers *numbers = numbers_of(demo);
    const struct coap_option *option;
    size_t segments = 0, queries = 0;
    memset(request, 0, sizeof *request);
    request->binding = "coap";
    request->ty = -1;
    request->operation = m->code <= 4 ? operations[m->code] : 0;
    for (size_t i = 0; i < m->option_count; i++) {
        option = &m->options[i];
        if (option->number == OPTION_URI_PATH) {
            bool tilde = segments == 0 && option->len == 1 && option->value[0] == '~';
            bool underscore = segments == 0 && option->len == 1 && option->value[0] == '_';
            append_text(request->target, sizeof request->target, "/", option);
            if (underscore)
                snprintf(request->to, sizeof request->to, "/");
            else if (!tilde)
                append_text(request->to, sizeof request->to, segments > 0 ? "/" : "", option);
            segments++;
        } else if (option->number == OPTION_URI_QUERY) {
            append_text(request->target, sizeof request->target, queries++ == 0 ? "?" : "&", option);
            request_add_query(request, (const char *)option->value, option->len);
        }
    }
    if ((option = coap_find(m, numbers->from)) != NULL) {
        request->has_from = true;
        copy_option(request->from, sizeof request->from, option);
    }
    if ((option = coap_find(m, numbers->rqi)) != NULL) {
        request->has_rqi = true;
        copy_option(request->rqi, sizeof request->rqi, option);
    }
    if (numbers->rvi != 0 && (option = coap_find(m, numbers->rvi)) != NULL)
        copy_option(request->rvi, sizeof request->rvi, option);
    if ((option = coap_find(m, numbers->ty)) != NULL)
        request->ty = (int)coap_uint(option);
    if (request->operation == OP_CREATE && request->ty < 0)
        request->operation = OP_NOTIFY;
    option = coap_find(m, OPTION_CONTENT_FORMAT);
    uint32_t format = option != NULL ? coap_uint(option) : 50;
    request->json_type =
        format == 50 || format == 10001 || format == 10003 || format == 10007 || format == 10009 || format == 10015;
    request->body = m->payload;
    request->body_len = m->payload_len;
}

static void record_message(struct demo *demo, const char *event, const struct request *request,
                           const struct coap_message *m)
{
    static const char *const types[] = {"CON", "NON", "ACK", "RST"};
    json_t *options = json_array();
    char code[8];
    for (size_t i = 0; i < m->option_count; i++)
        json_array_append_new(options, json_pack("[i,o]", (int)m->options[i].number,
                                                 record_text(m->options[i].value, m->options[i].len)));
    snprintf(code, sizeof code, "%u.%02u", (unsigned)m->code >> 5, m->code & 31U);
    record_request(
        demo, event, request,
        json_pack("{s:s, s:s, s:i, s:o}", "type", types[m->type], "code", code, "mid", (int)m->id, "options", options));
}

struct reply {
    uint8_t code;
    bool observe, block1, bare; // bare: of the message layer, without oneM2M options
    uint32_t sequence, block1_value;
    int rsc;
    const char *location;
    const uint8_t *payload;
    size_t payload_len;
    unsigned block2_num, block2_szx;
    bool block2_asked;
};

static void add_path(struct coap_writer *w, uint16_t number, const char *path)
{
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, "/");
        if (len > 0)
            coap_add(w, number, path, len);
        path += len;
        path += strspn(path, "/");
    }
}

static void build_reply(const struct demo *demo, struct coap_writer *w, const struct request *request,
                        const struct reply *reply)
{
    const struct numbers *numbers = numbers_of(demo);
    size_t block_bytes = (size_t)16 << reply->block2_szx, offset = reply->block2_num * block_bytes;
    bool blockwise = reply->payload_len > block_bytes || reply->block2_num > 0;
    size_t part = offset >= reply->payload_len ? 0 : reply->payload_len - offset;
    bool more = part > block_bytes;
    if (more)
        part = block_bytes;
    if (reply->observe)
        coap_add_uint(w, OPTION_OBSERVE, reply->sequence & 0xffffff);
    add_path(w, OPTION_LOCATION_PATH, reply->location);
    if (part > 0)
        coap_add_uint(w, OPTION_CONTENT_FORMAT, 50);
    if (blockwise)
        coap_add_uint(w, OPTION_BLOCK2, (uint32_t)(reply->block2_num << 4 | (more ? 8U : 0U) | reply->block2_szx));
    if (reply->block1)
        coap_add_uint(w, OPTION_BLOCK1, reply->block1_value);
    if (blockwise && reply->block2_num == 0)
        coap_add_uint(w, OPTION_SIZE2, (uint32_t)reply->payload_len);
    if (!reply->bare && request->has_rqi && demo->options.old_options)
        coap_add(w, numbers->rqi, request->rqi, strlen(request->rqi));
    if (!reply->bare && demo->options.old_options)
        coap_add_uint(w, numbers->rsc, (uint32_t)reply->rsc);
    if (!reply->bare && !demo->options.old_options) {
        const char *rvi = request->rvi[0] != '\0' ? request->rvi : "3";
        coap_add(w, numbers->rvi, rvi, strlen(rvi));
        if (request->has_rqi)
            coap_add(w, numbers->rqi, request->rqi, strlen(request->rqi));
        coap_add_uint(w, numbers->rsc, (uint32_t)reply->rsc);
    }
    coap_add_payload(w, part > 0 ? reply->payload + offset : NULL, part);
}

// Sends the reply in the way that the options say: piggybacked, separate, late, or wrong.
static void send_reply(struct demo *demo, const struct peer *peer, const struct coap_message *m,
                       const struct request *request, const struct reply *reply, size_t place)
{
    struct demo_coap *coap = demo->coap;
    bool separate = demo->options.separate && m->type == COAP_CON;
    uint8_t type = m->type == COAP_NON ? COAP_NON : separate ? COAP_CON : COAP_ACK;
    uint16_t id = type == COAP_ACK ? m->id : ++coap->next_id;
    unsigned delay = demo->options.delay_ms;
    struct coap_writer w;
    enum fail_mode fail = demo_fail_now(demo, request->target);
    if (fail == FAIL_NEVER)
        return;
    if (fail == FAIL_RESET) {
        emit_empty(demo, peer, COAP_RST, m->id);
        return;
    }
    if (fail == FAIL_NONSENSE) {
        emit(demo, peer, "\x01\x02nonsense\xff\xfe\xfd", 13);
        return;
    }
    coap_begin(&w, type, reply->code, id, m->token, m->token_len);
    build_reply(demo, &w, request, reply);
    if (fail == FAIL_CLOSE_MID_ANSWER)
        w.len = w.len * 2 / 3;
    if (separate) {
        emit_empty(demo, peer, COAP_ACK, m->id);
        coap->exchanges[place].answer = malloc(4);
        if (coap->exchanges[place].answer != NULL) {
            memcpy(coap->exchanges[place].answer, (uint8_t[4]){0x60, 0, (uint8_t)(m->id >> 8), (uint8_t)m->id}, 4);
            coap->exchanges[place].answer_len = 4;
        }
        delay = delay > 0 ? delay : 50;
    }
    send_message(demo, peer, &w, type == COAP_CON, delay, separate ? 0 : place + 1, coap->exchanges[place].serial);
    if (fail == FAIL_ANSWER_TWICE)
        send_message(demo, peer, &w, false, delay, 0, 0);
}

static void send_code(struct demo *demo, const struct peer *peer, const struct coap_message *m,
                      const struct request *request, uint8_t code, size_t place)
{
    struct reply reply = {.code = code, .bare = true, .block2_szx = 6};
    const struct coap_option *block1 = coap_find(m, OPTION_BLOCK1);
    if (block1 != NULL) {
        reply.block1 = true;
        reply.block1_value = coap_uint(block1);
    }
    send_reply(demo, peer, m, request, &reply, place);
}

static void observe(struct demo *demo, const struct peer *peer, const struct coap_message *m,
                    const struct request *request, struct reply *reply)
{
    const struct coap_option *option = coap_find(m, OPTION_OBSERVE);
    enum virtual_name virtual_name;
    if (option == NULL || request->operation != OP_RETRIEVE)
        return;
    for (struct observer **link = &demo->coap->observers; *link != NULL;) {
        struct observer *o = *link;
        if (same_peer(&o->peer, peer) && o->token_len == m->token_len && memcmp(o->token, m->token, m->token_len) == 0)
            observer_remove(demo, link);
        else
            link = &o->next;
    }
    struct resource *resource = resource_find(demo, request->to, &virtual_name);
    struct observer *made =
        coap_uint(option) == 0 && resource != NULL && reply->rsc == 2000 ? calloc(1, sizeof *made) : NULL;
    if (made == NULL)
        return;
    made->peer = *peer;
    memcpy(made->token, m->token, sizeof made->token);
    made->token_len = m->token_len;
    made->sequence = 2;
    made->resource = resource;
    made->request = *request;
    made->request.body = NULL;
    made->request.body_len = 0;
    made->next = demo->coap->observers;
    demo->coap->observers = made;
    reply->observe = true;
    reply->sequence = made->sequence;
}

// Gathers the blocks of a request. True when `request` now has the whole content.
static bool gather(struct demo *demo, const struct peer *peer, const struct coap_message *m, struct request *request,
                   size_t place)
{
    const struct coap_option *option = coap_find(m, OPTION_BLOCK1);
    if (option == NULL)
        return true;
    struct demo_coap *coap = demo->coap;
    uint32_t value = coap_uint(option), number = value >> 4;
    uint64_t key = body_key(request);
    struct body *body = number == 0 ? body_new(coap->in, &coap->next_in, peer, key) : body_find(coap->in, peer, key);
    if (body == NULL || body->len != (size_t)number << (4 + (value & 7))) {
        send_code(demo, peer, m, request, CODE_INCOMPLETE, place);
        return false;
    }
    if (!body_append(body, m->payload, m->payload_len)) {
        send_code(demo, peer, m, request, CODE_TOO_LARGE, place);
        return false;
    }
    if ((value & 8) != 0) {
        record_message(demo, "block", request, m);
        send_code(demo, peer, m, request, CODE_CONTINUE, place);
        return false;
    }
    request->body = body->bytes;
    request->body_len = body->len;
    return true;
}

// Keeps an answer that goes in blocks, so that a later block is of the same answer.
static void keep_body(struct demo *demo, const struct peer *peer, const struct request *request,
                      const struct reply *reply)
{
    struct body *body = body_new(demo->coap->out, &demo->coap->next_out, peer, body_key(request));
    body->rsc = reply->rsc;
    body_append(body, reply->payload, reply->payload_len);
}

static void handle_request(struct demo *demo, const struct peer *peer, const struct coap_message *m,
                           struct request *request, size_t place)
{
    const struct coap_option *block1 = coap_find(m, OPTION_BLOCK1), *block2 = coap_find(m, OPTION_BLOCK2);
    struct reply reply = {.block2_szx = 6};
    struct answer answer = {0};
    if (!gather(demo, peer, m, request, place))
        return;
    record_message(demo, "request", request, m);
    if (block1 != NULL) {
        reply.block1 = true;
        reply.block1_value = coap_uint(block1);
    }
    if (block2 != NULL) {
        reply.block2_num = coap_uint(block2) >> 4;
        reply.block2_szx = (coap_uint(block2) & 7) < 6 ? coap_uint(block2) & 7 : 6;
    }
    char *text = NULL;
    struct body *kept = reply.block2_num > 0 ? body_find(demo->coap->out, peer, body_key(request)) : NULL;
    if (kept != NULL) {
        reply.rsc = kept->rsc;
        reply.payload = kept->bytes;
        reply.payload_len = kept->len;
    } else if (reply.block2_num > 0 && request->operation != OP_RETRIEVE) {
        send_code(demo, peer, m, request, CODE_INCOMPLETE, place);
        return;
    } else {
        primitive_handle(demo, request, &answer);
        text = answer.content != NULL ? json_dumps(answer.content, JSON_COMPACT) : NULL;
        reply.rsc = answer.rsc;
        reply.location = answer.location;
        reply.payload = (const uint8_t *)text;
        reply.payload_len = text != NULL ? strlen(text) : 0;
        observe(demo, peer, m, request, &reply);
        if (reply.payload_len > (size_t)16 << reply.block2_szx)
            keep_body(demo, peer, request, &reply);
    }
    reply.code = rsc_coap_code(reply.rsc, request->operation);
    send_reply(demo, peer, m, request, &reply, place);
    free(text);
    json_decref(answer.content);
}

static void on_request(struct demo *demo, const struct peer *peer, const struct coap_message *m)
{
    struct demo_coap *coap = demo->coap;
    struct request request;
    bool duplicate;
    size_t place = exchange_place(coap, peer, m->id, &duplicate);
    to_request(demo, m, &request);
    if (duplicate) {
        record_message(demo, "duplicate", &request, m);
        if (coap->exchanges[place].answer != NULL)
            emit(demo, peer, coap->exchanges[place].answer, coap->exchanges[place].answer_len);
        return;
    }
    if (demo->options.rqi_max > 0 && strlen(request.rqi) > demo->options.rqi_max) {
        record_message(demo, "rqi too long", &request, m);
        return;
    }
    unsigned bad = bad_option(demo, m);
    if (bad != 0) {
        record_message(demo, "bad option", &request, m);
        send_code(demo, peer, m, &request, bad == 35 || bad == 39 ? CODE_PROXYING : CODE_BAD_OPTION, place);
        return;
    }
    handle_request(demo, peer, m, &request, place);
}

static void on_message(struct demo *demo, const struct peer *peer, const uint8_t *data, size_t len)
{
    struct coap_message m;
    if (!coap_parse(data, len, &m)) {
        struct request request = {.binding = "coap", .ty = -1, .body = data, .body_len = len};
        record_request(demo, "malformed", &request, NULL);
        if (len >= 4 && data[0] >> 6 == 1 && (data[0] >> 4 & 3) == COAP_CON)
            emit_empty(demo, peer, COAP_RST, (uint16_t)(data[2] << 8 | data[3]));
    } else if (m.type == COAP_RST) {
        observers_drop_id(demo, peer, m.id);
        acknowledged(demo, peer, m.id);
    } else if (m.type == COAP_ACK) {
        acknowledged(demo, peer, m.id);
    } else if (m.code == 0) {
        if (m.type == COAP_CON && demo_fail_now(demo, NULL) == FAIL_NONE)
            emit_empty(demo, peer, COAP_RST, m.id); // a ping
    } else if (m.code >> 5 == 0) {
        on_request(demo, peer, &m);
    } else if (m.type == COAP_CON) {
        emit_empty(demo, peer, COAP_ACK, m.id); // a separate answer to a notification
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct demo *demo = arg;
    (void)what;
    for (;;) {
        struct peer peer = {.len = sizeof peer.address};
        ssize_t n = recvfrom(fd, demo->coap->datagram, sizeof demo->coap->datagram, 0, (struct sockaddr *)&peer.address,
                             &peer.len);
        if (n < 0)
            return;
        on_message(demo, &peer, demo->coap->datagram, (size_t)n);
    }
}

// --- Observations and notifications ------------------------------------------------------------------------------

static void send_observation(struct demo *demo, struct observer *o, const struct answer *answer)
{
    struct reply reply = {
        .observe = answer->rsc == 2000, .sequence = ++o->sequence, .rsc = answer->rsc, .block2_szx = 6};
    struct coap_writer w;
    char *text = answer->content != NULL ? json_dumps(answer->content, JSON_COMPACT) : NULL;
    reply.code = rsc_coap_code(answer->rsc, OP_RETRIEVE);
    reply.payload = (const uint8_t *)text;
    reply.payload_len = text != NULL ? strlen(text) : 0;
    if (reply.payload_len > COAP_BLOCK_BYTES)
        keep_body(demo, &o->peer, &o->request, &reply);
    o->last_id = ++demo->coap->next_id;
    coap_begin(&w, COAP_CON, reply.code, o->last_id, o->token, o->token_len);
    build_reply(demo, &w, &o->request, &reply);
    send_message(demo, &o->peer, &w, true, 0, 0, 0);
    free(text);
}

void coap_resource_changed(struct demo *demo, struct resource *resource)
{
    if (demo->coap == NULL)
        return;
    for (struct observer *o = demo->coap->observers; o != NULL; o = o->next) {
        struct answer answer;
        if (o->resource != resource)
            continue;
        primitive_handle(demo, &o->request, &answer);
        send_observation(demo, o, &answer);
        json_decref(answer.content);
    }
}

void coap_resource_gone(struct demo *demo, const struct resource *resource)
{
    struct answer answer = {.rsc = 4004};
    if (demo->coap == NULL)
        return;
    for (struct observer **link = &demo->coap->observers; *link != NULL;) {
        if ((*link)->resource == resource) {
            send_observation(demo, *link, &answer);
            observer_remove(demo, link);
        } else {
            link = &(*link)->next;
        }
    }
}

void coap_send_notify(struct demo *demo, const char *url, const char *rqi, const char *content)
{
    struct evhttp_uri *uri = demo->coap != NULL ? evhttp_uri_parse(url) : NULL;
    struct peer peer = {.len = 0};
    struct coap_writer w;
    char address[128];
    int len = sizeof peer.address, port;
    if (uri == NULL)
        return;
    port = evhttp_uri_get_port(uri) > 0 ? evhttp_uri_get_port(uri) : 5683;
    snprintf(address, sizeof address, "%s:%d", evhttp_uri_get_host(uri), port);
    if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&peer.address, &len) == 0) {
        const struct numbers *numbers = numbers_of(demo);
        uint16_t id = ++demo->coap->next_id;
        uint8_t token[2] = {(uint8_t)(id >> 8), (uint8_t)id};
        peer.len = (socklen_t)len;
        coap_begin(&w, COAP_CON, 2, id, token, sizeof token);
        add_path(&w, OPTION_URI_PATH, evhttp_uri_get_path(uri));
        coap_add_uint(&w, OPTION_CONTENT_FORMAT, 50);
        if (numbers->rvi != 0)
            coap_add(&w, numbers->rvi, "3", 1);
        coap_add(&w, numbers->from, demo->options.cse_id, strlen(demo->options.cse_id));
        coap_add(&w, numbers->rqi, rqi, strlen(rqi));
        coap_add_payload(&w, content, strlen(content));
        if (!w.overflow)
            send_message(demo, &peer, &w, true, 0, 0, 0);
    }
    evhttp_uri_free(uri);
}

int coap_start(struct demo *demo, const char *address)
{
    struct sockaddr_storage storage;
    int len = sizeof storage, size = 4 << 20;
    if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&storage, &len) != 0) {
        fprintf(stderr, "sagate-demo-cse: %s is no address:port\n", address);
        return -1;
    }
    demo->coap = calloc(1, sizeof *demo->coap);
    if (demo->coap == NULL)
        return -1;
    demo->coap->fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(demo->coap->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (demo->coap->fd < 0 || bind(demo->coap->fd, (struct sockaddr *)&storage, (socklen_t)len) != 0) {
        fprintf(stderr, "sagate-demo-cse: CoAP on %s: %s\n", address, strerror(errno));
        return -1;
    }
    demo->coap->next_id = (uint16_t)getpid();
    demo->coap->readable = event_new(demo->base, demo->coap->fd, EV_READ | EV_PERSIST, on_readable, demo);
    event_add(demo->coap->readable, NULL);
    return 0;
}

void coap_stop(struct demo *demo)
{
    struct demo_coap *coap = demo->coap;
    if (coap == NULL)
        return;
    while (coap->outgoing != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list
        outgoing_free(coap->outgoing);
    while (coap->observers != NULL)
        observer_remove(demo, &coap->observers);
    for (size_t i = 0; i < EXCHANGES; i++)
        free(coap->exchanges[i].answer);
    for (size_t i = 0; i < BODIES; i++) {
        free(coap->in[i].bytes);
        free(coap->out[i].bytes);
    }
    if (coap->readable != NULL)
        event_free(coap->readable);
    if (coap->fd >= 0)
        close(coap->fd);
    free(coap);
    demo->coap = NULL;
}
