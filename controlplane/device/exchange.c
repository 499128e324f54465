// Requests over an association.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/exchange.h"

#include "common/error.h"
#include "common/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { ACK_MILLISECONDS = 2000, RETRANSMITS = 4, DATAGRAM_MAX = 16384 };

static const char no_answer_hint[] = "is the CSE behind the gateway up? sagate's log and sagatectl upstreams tell";

uint64_t exchange_random(void)
{
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        abort(); // so few bytes are always given (getrandom(2))
    return number;
}

// What a received datagram was, with the acknowledgement that it wants sent.
static int read_coap(struct link *link, const struct coap_token *token, struct reply *reply, int64_t deadline)
{
    uint8_t data[DATAGRAM_MAX];
    uint8_t ack[COAP_HEAD];
    bool acknowledge;
    uint16_t mid = 0;
    ssize_t len = link_read(link, data, sizeof data, deadline);
    if (len <= 0)
        return len == 0 ? SAGATE_EGONE : (int)len;
    int rc = reply_read_coap(data, (size_t)len, token, reply, &acknowledge, &mid);
    if (acknowledge) {
        coap_write_empty(ack, COAP_ACK, mid);
        (void)link_write(link, ack, sizeof ack);
    }
    return rc;
}

static int fail(struct link *link, const struct report *report, int rc)
{
    const char *why = rc == SAGATE_EGONE      ? link_why(link)
                      : rc == SAGATE_ETIMEOUT ? "no answer in time"
                                              : sagate_strerror(rc);
    return report_failure(report, "response", NULL, why, no_answer_hint, EXIT_ANSWER);
}

// One message and its answer, sent again as RFC 7252 4.2 says.
static int transfer(struct link *link, const struct options *options, const struct request *request,
                    const struct coap_token *token, struct reply *reply)
{
    uint8_t data[DATAGRAM_MAX];
    uint16_t mid = (uint16_t)exchange_random();
    int len = request_write_coap(request, mid, token, data, sizeof data);
    if (len < 0)
        return len;
    int64_t deadline = link_now_ms() + (int64_t)options->timeout * 1000;
    int64_t wait = ACK_MILLISECONDS;
    int rc = SAGATE_AGAIN;
    for (unsigned tries = 0; rc == SAGATE_AGAIN || rc == SAGATE_ETIMEOUT;) {
        if (rc == SAGATE_ETIMEOUT && link_now_ms() >= deadline)
            return rc;
        if ((rc == SAGATE_ETIMEOUT || tries == 0) && tries <= RETRANSMITS) {
            tries++;
            if (link_write(link, data, (size_t)len) != SAGATE_OK)
                return SAGATE_EGONE;
            wait *= tries > 1 ? 2 : 1;
        }
        int64_t until = link_now_ms() + wait;
        rc = read_coap(link, token, reply, until < deadline ? until : deadline);
    }
    return rc;
}

int exchange_coap(struct link *link, const struct options *options, struct request *request, struct coap_token *token,
                  struct reply *reply, const struct report *report)
{
    int rc;
    if (token->len == 0) {
        token->len = COAP_TOKEN_MAX;
        memcpy(token->bytes, &(uint64_t){exchange_random()}, COAP_TOKEN_MAX);
    }
    report_step(report, "request",
                json_pack("{s:s, s:s, s:s, s:s, s:I}", "operation", onem2m_operation_name(request->operation), "to",
                          request->to, "from", request->from, "rqi", request->id, "content_bytes",
                          (json_int_t)request->content.len));
    do {
        rc = transfer(link, options, request, token, reply);
        request->block = reply->block + 1;
        request->block_size = reply->block_size;
        request->observe = OBSERVE_NOT; // further blocks of it are not observed (RFC 7959 3.4)
    } while (rc == SAGATE_OK && reply->more);
    return rc == SAGATE_OK ? EXIT_DONE : fail(link, report, rc);
}

int exchange_await(struct link *link, const struct options *options, const struct coap_token *token,
                   struct reply *reply, const struct report *report)
{
    int64_t deadline = link_now_ms() + (int64_t)options->timeout * 1000;
    int rc;
    do
        rc = read_coap(link, token, reply, deadline);
    while (rc == SAGATE_AGAIN);
    return rc == SAGATE_OK ? EXIT_DONE : fail(link, report, rc);
}

int exchange_http(struct link *link, const struct options *options, const struct request *request, struct reply *reply,
                  const struct report *report)
{
    int64_t deadline = link_now_ms() + (int64_t)options->timeout * 1000;
    uint8_t *data = malloc(REQUEST_MAX);
    int rc = data == NULL ? SAGATE_ENOMEM : request_write_http(request, data, REQUEST_MAX);
    if (rc > 0)
        rc = link_write(link, data, (size_t)rc) == SAGATE_OK ? SAGATE_AGAIN : SAGATE_EGONE;
    if (rc == SAGATE_AGAIN)
        report_step(report, "request",
                    json_pack("{s:s, s:s, s:s, s:s, s:I}", "operation", onem2m_operation_name(request->operation), "to",
                              request->to, "from", request->from, "rqi", request->id, "content_bytes",
                              (json_int_t)request->content.len));
    size_t have = 0;
    while (rc == SAGATE_AGAIN) {
        ssize_t len = have < REQUEST_MAX ? link_read(link, data + have, REQUEST_MAX - have, deadline) : SAGATE_ETOOBIG;
        if (len < 0 || (len == 0 && have == 0)) {
            rc = len < 0 ? (int)len : SAGATE_EGONE;
            break;
        }
        have += (size_t)len;
        rc = reply_read_http(data, have, len == 0, reply);
    }
    if (data != NULL)
        secret_zero(data, REQUEST_MAX); // a registration may hold a key
    free(data);
    return rc == SAGATE_OK ? EXIT_DONE : fail(link, report, rc);
}

static const char *hint_for(int rsc)
{
    switch (rsc) {
    case RSC_ORIGINATOR_NOT_AUTHENTICATED:
        return "--from is not who the credential of this association stands for";
    case RSC_ORIGINATOR_HAS_NO_PRIVILEGE:
        return "the CSE's access control, or the function's list of administrators and targets, refuses this";
    case RSC_SECURITY_ASSOCIATION_REQUIRED:
        return "the CSE wants a security association for this originator";
    case RSC_TARGET_NOT_REACHABLE:
        return no_answer_hint;
    case RSC_NOT_FOUND:
        return "is --to right?";
    default:
        return NULL;
    }
}

int exchange_tell(const struct reply *reply, const char *step, const struct report *report)
{
    json_t *details = json_object();
    char code[16];
    if (reply->coap)
        (void)snprintf(code, sizeof code, "%u.%02u", (unsigned)reply->code >> 5, (unsigned)reply->code & 31U);
    else
        (void)snprintf(code, sizeof code, "%d", reply->code);
    (void)json_object_set_new(details, "code", json_string(code));
    if (reply->rsc != 0) {
        (void)json_object_set_new(details, "rsc", json_integer(reply->rsc));
        (void)json_object_set_new(details, "rsc_name", json_string(onem2m_rsc_name(reply->rsc)));
    }
    if (reply->id[0] != '\0')
        (void)json_object_set_new(details, "rqi", json_string(reply->id));
    if (reply->observed)
        (void)json_object_set_new(details, "observe", json_integer((json_int_t)reply->sequence));
    json_t *content = reply->content_len == 0 ? NULL
                                              : json_loadb((const char *)reply->content, reply->content_len,
                                                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (content != NULL)
        (void)json_object_set_new(details, "content", content);
    else if (reply->content_len > 0)
        (void)json_object_set_new(details, "content_bytes", json_integer((json_int_t)reply->content_len));
    if (reply_good(reply)) {
        report_step(report, step, details);
        return EXIT_DONE;
    }
    return report_failure(report, step, details, "the answer is no success", hint_for(reply->rsc), EXIT_REFUSED);
}
