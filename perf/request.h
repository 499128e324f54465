// oneM2M requests that devices send, over CoAP (TS-0008) and HTTP (TS-0009), and how their answers are judged.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_REQUEST_H
#define SAGATE_PERF_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REQUEST_CONTENT_MIN = 32, // bytes of the content of a create
    REQUEST_CONTENT_MAX = 65536,
    REQUEST_HEAD_MAX = 2048,
    REQUEST_COAP_MAX = 2048, // bytes of one CoAP message
    REQUEST_HTTP_MAX = REQUEST_CONTENT_MAX + REQUEST_HEAD_MAX,
    REQUEST_BLOCK = 1024, // bytes of a block (RFC 7959)
};

enum request_operation { REQUEST_RETRIEVE, REQUEST_CREATE, REQUEST_DISCOVER, REQUEST_NOTIFY, REQUEST_OPERATIONS };

extern const char *const request_operation_names[REQUEST_OPERATIONS];

// How often which operation is done, in proportion to the sum.
struct request_mix {
    unsigned weight[REQUEST_OPERATIONS], total;
};
// "retrieve=70,create=20": false when it names something else, or has no weight at all.
bool request_mix_parse(const char *text, struct request_mix *mix);
// The operation for a number below `total`.
enum request_operation request_mix_at(const struct request_mix *mix, unsigned number);

// Once, before any is written: the bytes of the content of a create.
void request_setup(size_t content);

struct request {
    enum request_operation operation;
    const char
        *path; // of a contentInstance; its parent is where all but a retrieve goes when it ends in "/la" or "/ol"
    const char *from; // NULL: no oneM2M parameters at all
    const char *host; // HTTP
    uint32_t id;      // request identifier
    // CoAP:
    uint32_t message; // message ID and token
    uint32_t offset;  // bytes of the content that were sent before, in blocks
    uint32_t block;   // of the answer
    unsigned status;
};

// The length; 0: it does not fit.
size_t request_write_coap(const struct request *request, uint8_t out[REQUEST_COAP_MAX]);
size_t request_write_http(const struct request *request, uint8_t out[REQUEST_HTTP_MAX]);

enum request_answer {
    REQUEST_MORE, // not (all of) an answer
    REQUEST_OK,
    REQUEST_REFUSED,
    REQUEST_MALFORMED,
    REQUEST_CONTINUE,   // the server wants the next block of the content
    REQUEST_NEXT_BLOCK, // the answer goes on in another block
};

// Judges one CoAP message: REQUEST_MORE for an empty acknowledgement or another message's answer; a separate
// confirmable answer sets *acknowledge and the 4 bytes to send. REQUEST_CONTINUE moves request->offset,
// REQUEST_NEXT_BLOCK request->block. request->status is the answer's code, as "404" for 4.04.
enum request_answer request_judge_coap(struct request *request, const uint8_t *data, size_t len, bool *acknowledge,
                                       uint8_t acknowledgement[4]);

// Reads one HTTP answer, as it comes. Zero-initialised means nothing was read; back there, but for `status`, after
// REQUEST_OK and REQUEST_REFUSED.
struct request_reader {
    char *head; // as far as it is there
    size_t head_len;
    uint64_t body_left;
    unsigned status;
    bool in_body;
};
enum request_answer request_read_http(struct request_reader *reader, const uint8_t *data, size_t len);
void request_reader_reset(struct request_reader *reader);

#endif
