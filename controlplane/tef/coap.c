// A request is written anew for each of its messages; blocks of an answer gather in secret memory.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/coap.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/binding/coap/numbering.h"

#include <stdlib.h>

enum { FORMAT_JSON = 50, FORMAT_RES_JSON = 10001, FORMAT_PRSP_JSON = 10008, SEGMENT_MAX = 255, RELEASE_VERSION = '3' };
enum { SIZE_LEAST = 16, ETAG_MAX = 8 };

struct tef_exchange {
    char *target, *host, *origin, *request_id, *body; // host without port; body NULL for none
    enum numbering numbering;
    uint8_t method;
    unsigned type;
    uint16_t mid;
    struct coap_token token;
    // Of the request's body: where the block under way begins, its size, and whether the body goes in blocks at all.
    size_t sent;
    uint32_t send_size;
    bool in_blocks;
    // Of the answer: more than one block of it; NULL before the second.
    struct tef_response *gathered;
    uint32_t take_size;
    struct coap_token etag; // of RFC 7252 5.10.6, in the same shape
    size_t len;
    uint8_t bytes[TEF_COAP_MESSAGE_MAX];
};

static uint8_t method_of(const char *method)
{
    static const struct {
        const char *name;
        uint8_t code;
    } methods[] = {{"GET", COAP_GET}, {"POST", COAP_POST}, {"PUT", COAP_PUT}, {"DELETE", COAP_DELETE}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(method, methods[i].name) == 0)
            return methods[i].code;
    }
    return 0;
}

static bool segments_fit(const char *target)
{
    while (*target != '\0') {
        target += strspn(target, "/");
        size_t len = strcspn(target, "/");
        if (len > SEGMENT_MAX)
            return false;
        target += len;
    }
    return true;
}

int tef_exchange_new(const struct tef_message *message, enum tef_numbering numbering, struct tef_exchange **exchange)
{
    if (!segments_fit(message->target) || strlen(message->origin) > SEGMENT_MAX)
        return SAGATE_ETOOBIG;
    struct tef_exchange *new = calloc(1, sizeof *new);
    if (new == NULL)
        return SAGATE_ENOMEM;
    new->numbering = numbering == TEF_NUMBERING_OLD ? NUMBERING_OLD : NUMBERING_CURRENT;
    new->method = method_of(message->method);
    new->type = message->type;
    new->target = strdup(message->target);
    new->host = strndup(message->host, strcspn(message->host, ":"));
    new->origin = strdup(message->origin);
    new->request_id = strdup(message->request_id);
    new->body = message->body == NULL ? NULL : strdup(message->body);
    new->send_size = TEF_COAP_BLOCK;
    new->in_blocks = message->body != NULL &&strlen(message->body) > TEF_COAP_BLOCK;
    if (new->target == NULL || new->host == NULL || new->origin == NULL || new->request_id == NULL ||
        (message->body != NULL && new->body == NULL)) {
        tef_exchange_free(new);
        return SAGATE_ENOMEM;
    }
    int rc = tef_exchange_next(new, 0, 0).len > 0 ? SAGATE_OK : SAGATE_ETOOBIG;
    if (rc != SAGATE_OK) {
        tef_exchange_free(new);
        return rc;
    }
    *exchange = new;
    return SAGATE_OK;
}

void tef_exchange_free(struct tef_exchange *exchange)
{
    if (exchange == NULL)
        return;
    secret_free(exchange->gathered);
    free(exchange->target);
    free(exchange->host);
    free(exchange->origin);
    free(exchange->request_id);
    free(exchange->body);
    free(exchange);
}

// --- Requests ----------------------------------------------------------------------------------------------------

static void add_onem2m(const struct tef_exchange *exchange, struct coap_list *list, enum numbering_option option,
                       struct slice value)
{
    uint16_t number = numbering_rows[option].number[exchange->numbering];
    if (number != 0)
        coap_list_add(list, number, value);
}

static uint32_t block_value(size_t offset, uint32_t size, bool more)
{
    uint32_t exponent = 0;
    while ((uint32_t)SIZE_LEAST << exponent < size)
        exponent++;
    return (uint32_t)(offset / size) << 4 | (more ? 8U : 0U) | exponent;
}

static void add_path(struct coap_list *list, const char *target)
{
    for (;;) {
        target += strspn(target, "/");
        size_t len = strcspn(target, "/");
        if (len == 0)
            return;
        coap_list_add(list, COAP_URI_PATH, slice_of(target, len));
        target += len;
    }
}

// The block of the body that is under way; nothing of it when blocks of the answer are asked for (RFC 7959 2.7).
static struct slice payload_of(const struct tef_exchange *exchange, bool *more)
{
    *more = false;
    if (exchange->body == NULL || exchange->gathered != NULL)
        return slice_of("", 0);
    size_t left = strlen(exchange->body) - exchange->sent;
    *more = exchange->in_blocks && left > exchange->send_size;
    return slice_of(exchange->body + exchange->sent, *more ? exchange->send_size : left);
}

static void add_blocks(const struct tef_exchange *exchange, struct coap_list *list, bool more)
{
    if (exchange->gathered != NULL)
        coap_list_add_uint(list, COAP_BLOCK2, block_value(exchange->gathered->body_len, exchange->take_size, false));
    else if (exchange->in_blocks)
        coap_list_add_uint(list, COAP_BLOCK1, block_value(exchange->sent, exchange->send_size, more));
    if (exchange->in_blocks && exchange->gathered == NULL && exchange->sent == 0)
        coap_list_add_uint(list, COAP_SIZE1, (uint32_t)strlen(exchange->body));
}

struct slice tef_exchange_next(struct tef_exchange *exchange, uint16_t mid, uint64_t token)
{
    static const uint8_t release[] = {RELEASE_VERSION};
    struct coap_list list = {0};
    struct coap_writer writer;
    bool more;
    struct slice payload = payload_of(exchange, &more);
    exchange->mid = mid;
    exchange->token.len = COAP_TOKEN_MAX;
    memcpy(exchange->token.bytes, &token, COAP_TOKEN_MAX);
    coap_list_add(&list, COAP_URI_HOST, slice_text(exchange->host));
    add_path(&list, exchange->target);
    if (payload.len > 0)
        coap_list_add_uint(&list, COAP_CONTENT_FORMAT, FORMAT_JSON);
    coap_list_add_uint(&list, COAP_ACCEPT, FORMAT_JSON);
    add_blocks(exchange, &list, more);
    add_onem2m(exchange, &list, ONEM2M_FR, slice_text(exchange->origin));
    add_onem2m(exchange, &list, ONEM2M_RQI, slice_text(exchange->request_id));
    add_onem2m(exchange, &list, ONEM2M_RVI, slice_of(release, sizeof release));
    if (exchange->type > 0)
        coap_list_add_uint(&list, numbering_rows[ONEM2M_TY].number[exchange->numbering], exchange->type);
    coap_begin(&writer, exchange->bytes, sizeof exchange->bytes, COAP_CON, exchange->method, mid, &exchange->token);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, payload);
    int len = list.full ? SAGATE_ETOOBIG : coap_end(&writer);
    exchange->len = len < 0 ? 0 : (size_t)len;
    return tef_exchange_message(exchange);
}

struct slice tef_exchange_message(const struct tef_exchange *exchange)
{
    return slice_of(exchange->bytes, exchange->len);
}

uint16_t tef_exchange_mid(const struct tef_exchange *exchange)
{
    return exchange->mid;
}

bool tef_exchange_is(const struct tef_exchange *exchange, const struct coap_token *token)
{
    return coap_token_equal(&exchange->token, token);
}

// --- Answers -----------------------------------------------------------------------------------------------------

// What the options of one message say.
struct options {
    bool has_block1, has_block2;
    struct coap_block block1, block2;
    struct coap_token etag;
};

static int refuse(struct tef_response *response, const char *why)
{
    response->why = why;
    return SAGATE_EMALFORMED;
}

static int onem2m_option(struct tef_response *response, enum numbering_option option, struct slice value)
{
    if (option == ONEM2M_RSC) {
        uint32_t rsc = coap_uint(value);
        if (response->rsc != 0 || rsc < 1000 || rsc > 9999)
            return refuse(response, "oneM2M-RSC is no response status code");
        response->rsc = rsc;
    } else if (option == ONEM2M_RQI) {
        if (response->request_id[0] != '\0' || value.len == 0 || value.len > TEF_REQUEST_ID_MAX ||
            memchr(value.data, '\0', value.len) != NULL)
            return refuse(response, "oneM2M-RQI is no request identifier of ours");
        memcpy(response->request_id, value.data, value.len);
        response->request_id[value.len] = '\0';
    }
    return SAGATE_OK;
}

static int block_option(struct tef_response *response, const struct coap_option *option, struct options *options)
{
    bool first = option->number == COAP_BLOCK1;
    bool *has = first ? &options->has_block1 : &options->has_block2;
    if (*has || !coap_block_parse(option->value, first ? &options->block1 : &options->block2))
        return refuse(response, "a Block option that is none");
    *has = true;
    return SAGATE_OK;
}

static bool is_json(uint32_t format)
{
    return format == FORMAT_JSON || format == FORMAT_RES_JSON || format == FORMAT_PRSP_JSON;
}

static int take_option(const struct tef_exchange *exchange, const struct coap_option *option, bool success,
                       struct tef_response *response, struct options *options)
{
    int row = numbering_find(exchange->numbering, option->number);
    if (row >= 0)
        return onem2m_option(response, (enum numbering_option)row, option->value);
    switch (option->number) {
    case COAP_BLOCK1:
    case COAP_BLOCK2:
        return block_option(response, option, options);
    case COAP_CONTENT_FORMAT: // a refusal may tell its reason in plain text (RFC 7252 5.5.2)
        return success && !is_json(coap_uint(option->value)) ? refuse(response, "a content format other than JSON")
                                                             : SAGATE_OK;
    case COAP_ETAG:
        if (option->value.len > ETAG_MAX)
            return refuse(response, "an ETag that is none");
        options->etag.len = (uint8_t)option->value.len;
        memcpy(options->etag.bytes, option->value.data, option->value.len);
        return SAGATE_OK;
    default:
        return coap_is_critical(option->number) ? refuse(response, "a critical option that is not known") : SAGATE_OK;
    }
}

static int read_message(const struct tef_exchange *exchange, const struct coap_message *message,
                        struct tef_response *response, struct options *options)
{
    unsigned class = coap_class(message->code);
    int result = SAGATE_OK;
    if (class != 2 && class != 4 && class != 5)
        return refuse(response, "a code that is none of an answer");
    if (message->critical_cut)
        return refuse(response, "too many options");
    response->status = (int)(class * 100 + (message->code & 31U));
    for (size_t i = 0; result == SAGATE_OK && i < message->option_count; i++)
        result = take_option(exchange, &message->options[i], class == 2, response, options);
    if (result != SAGATE_OK)
        return result;
    if (message->payload.len > TEF_BODY_MAX)
        return refuse(response, "the body is too long");
    if (message->payload.len > 0)
        memcpy(response->body, message->payload.data, message->payload.len);
    response->body_len = message->payload.len;
    return SAGATE_OK;
}

// 2.31: the next block is wanted, perhaps in a smaller size from there on (RFC 7959 2.3).
static int go_on_sending(struct tef_exchange *exchange, struct tef_response *response, const struct options *options)
{
    const struct coap_block *block = &options->block1;
    size_t len = exchange->body == NULL ? 0 : strlen(exchange->body);
    if (!exchange->in_blocks || exchange->gathered != NULL || exchange->sent + exchange->send_size >= len ||
        !options->has_block1 || block->number != exchange->sent / exchange->send_size ||
        block->size > exchange->send_size)
        return refuse(response, "it asks for a block that there is not");
    exchange->sent += exchange->send_size;
    exchange->send_size = block->size;
    return SAGATE_AGAIN;
}

// 4.13 with a size: from the beginning, in such blocks (RFC 7959 2.9.3). Each time they get smaller.
static bool send_smaller(struct tef_exchange *exchange, const struct options *options)
{
    if (exchange->body == NULL || exchange->gathered != NULL || !options->has_block1 ||
        options->block1.size >= (exchange->in_blocks ? exchange->send_size : strlen(exchange->body)))
        return false;
    exchange->send_size = options->block1.size;
    exchange->sent = 0;
    exchange->in_blocks = true;
    return true;
}

static int first_block(struct tef_exchange *exchange, const struct options *options, struct tef_response *response)
{
    if (options->block2.number != 0 || response->body_len != options->block2.size)
        return refuse(response, "the first block of the body is none");
    exchange->gathered = secret_alloc(sizeof *response);
    if (exchange->gathered == NULL)
        return SAGATE_ENOMEM;
    *exchange->gathered = *response;
    exchange->take_size = options->block2.size;
    exchange->etag = options->etag;
    return SAGATE_AGAIN;
}

static int next_block(struct tef_exchange *exchange, const struct options *options, struct tef_response *response)
{
    struct tef_response *gathered = exchange->gathered;
    const struct coap_block *block = &options->block2;
    if (!options->has_block2 || block->offset != gathered->body_len || response->status != gathered->status ||
        (block->more && (response->body_len != block->size || block->size > exchange->take_size)))
        return refuse(response, "a block of the body does not fit to those before");
    if (!coap_token_equal(&options->etag, &exchange->etag))
        return refuse(response, "the body has changed between its blocks");
    if (response->body_len > TEF_BODY_MAX - gathered->body_len)
        return refuse(response, "the body is too long");
    memcpy(gathered->body + gathered->body_len, response->body, response->body_len);
    gathered->body_len += response->body_len;
    exchange->take_size = block->size;
    if (block->more)
        return SAGATE_AGAIN;
    *response = *gathered;
    return SAGATE_DONE;
}

int tef_exchange_take(struct tef_exchange *exchange, const struct coap_message *message, struct tef_response *response)
{
    struct options options = {0};
    tef_response_reset(response);
    int result = read_message(exchange, message, response, &options);
    if (result != SAGATE_OK)
        return result;
    if (message->code == COAP_CONTINUE)
        return go_on_sending(exchange, response, &options);
    if (message->code == COAP_TOO_LARGE && send_smaller(exchange, &options))
        return SAGATE_AGAIN;
    if (coap_class(message->code) != 2)
        return SAGATE_DONE; // a refusal in the midst of blocks is one of the whole
    if (exchange->gathered != NULL)
        return next_block(exchange, &options, response);
    if (options.has_block2 && options.block2.more)
        return first_block(exchange, &options, response);
    if (options.has_block2 && options.block2.number != 0)
        return refuse(response, "the first block of the body is none");
    return SAGATE_DONE;
}
