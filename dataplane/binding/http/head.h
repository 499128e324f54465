// An incremental parser for the head of an HTTP/1.1 message (RFC 9112 sections 2 to 5), strict: what it does not take
// is refused, never repaired, so that no reader behind sagate can see another message than sagate saw.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_HEAD_H
#define SAGATE_DATAPLANE_BINDING_HTTP_HEAD_H

#include "dataplane/binding/http/buffer.h"

enum { HTTP_FIELDS_MAX = 64 };

enum http_head_kind { HTTP_REQUEST_HEAD, HTTP_RESPONSE_HEAD };

// A field line as offsets into the head's bytes, since those may move while the head grows.
struct http_field {
    uint32_t name, name_len, value, value_len;
};

struct http_head {
    enum http_head_kind kind;
    int state;
    int error; // sticky
    struct buffer bytes;
    size_t max;
    size_t mark;                    // where the element being read began
    unsigned empty_lines;           // CRLFs skipped before the start line
    uint32_t method_len;            // at offset 0
    uint32_t target_at, target_len; // request
    int version;                    // 10 · major + minor
    int status;                     // response
    uint16_t field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
};

// Prepares for one head of at most `max` bytes. Nothing is allocated before the first byte.
void http_head_init(struct http_head *head, enum http_head_kind kind, size_t max);

// The same for a head that has been initialised before or is all zero; the memory of its bytes is used again, unless it
// is more than `keep`.
void http_head_again(struct http_head *head, enum http_head_kind kind, size_t max, size_t keep);

// Frees the bytes; the head may be initialised again.
void http_head_release(struct http_head *head);

// Takes bytes, copying them; *used says how many, which on SAGATE_OK ends with the head's last line feed.
// SAGATE_OK: complete. SAGATE_AGAIN: all taken, more is needed. Errors, after which every call fails alike:
// SAGATE_EMALFORMED; SAGATE_ETOOBIG (`max` or HTTP_FIELDS_MAX); SAGATE_EVERSION (request: not HTTP/1.1; response: not
// 1.0 or 1.1); SAGATE_ENOMEM. Fields that were complete before an error can be read.
int http_head_feed(struct http_head *head, const uint8_t *data, size_t len, size_t *used);

// Parts of a head; the slices live until the next call of feed or release. Method and target are of requests.
struct slice http_head_method(const struct http_head *head);
struct slice http_head_target(const struct http_head *head);
struct slice http_head_name(const struct http_head *head, size_t index);
struct slice http_head_value(const struct http_head *head, size_t index);

// Number of field lines with this name (case-insensitive); *value is the first one's, data NULL when there is none.
size_t http_head_find(const struct http_head *head, const char *name, struct slice *value);

// True for a tchar of RFC 9110 section 5.6.2, and for a whole non-empty token.
bool http_is_tchar(uint8_t c);
bool http_is_token(struct slice text);

// Case-insensitive comparisons of ASCII: whole, or whether `text` begins with `prefix`.
bool http_same(struct slice text, const char *other);
bool http_begins(struct slice text, const char *prefix);

// The next element of a comma-separated list (RFC 9110 section 5.6.1) without white space around it; false at the end.
// Empty elements are skipped.
bool http_list_next(struct slice *rest, struct slice *element);

// True when a Connection field of the head names this option (RFC 9110 section 7.6.1).
bool http_connection_names(const struct http_head *head, struct slice option);

// 1*DIGIT without sign or white space, at most 18 digits: 0 or SAGATE_EMALFORMED.
int http_number(struct slice text, uint64_t *number);

#endif
