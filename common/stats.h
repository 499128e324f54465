// Counters of one worker, in memory that the worker writes and the control process reads (design: metrics).
// Written by one thread with plain relaxed stores, so counting takes no locked instruction.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_STATS_H
#define SAGATE_COMMON_STATS_H

#include "common/profile.h"

#include <stddef.h>
#include <stdint.h>

// X(id, metric name without the "sagate_" prefix, labels, type, help). One metric's rows stand together.
#define SAGATE_STATS(X)                                                                                                \
    X(HANDSHAKES_STARTED, "handshakes_started_total", "", "counter",                                                   \
      "Handshakes begun after a proven cookie or an accepted connection")                                              \
    X(HANDSHAKES_OK_PSK, "handshakes_total", "result=\"ok\",framework=\"psk\"", "counter",                             \
      "Handshakes ended, by result and framework")                                                                     \
    X(HANDSHAKES_OK_NONE, "handshakes_total", "result=\"ok\",framework=\"none\"", "counter", "")                       \
    X(HANDSHAKES_OK_MAF, "handshakes_total", "result=\"ok\",framework=\"maf\"", "counter", "")                         \
    X(HANDSHAKES_OK_CERTIFICATE, "handshakes_total", "result=\"ok\",framework=\"certificate\"", "counter", "")         \
    X(HANDSHAKES_FAILED_CREDENTIAL, "handshakes_total", "result=\"credential\",framework=\"psk\"", "counter", "")      \
    X(HANDSHAKES_FAILED_CERTIFICATE, "handshakes_total", "result=\"credential\",framework=\"certificate\"", "counter", \
      "")                                                                                                              \
    X(HANDSHAKES_FAILED_PROTOCOL, "handshakes_total", "result=\"protocol\",framework=\"none\"", "counter", "")         \
    X(HANDSHAKES_FAILED_TIMEOUT, "handshakes_total", "result=\"timeout\",framework=\"none\"", "counter", "")           \
    X(HANDSHAKES_FAILED_GONE, "handshakes_total", "result=\"gone\",framework=\"none\"", "counter", "")                 \
    X(HANDSHAKES_IN_PROGRESS, "handshakes_in_progress", "", "gauge", "Handshakes in progress")                         \
    X(HANDSHAKES_PARKED, "handshakes_parked", "", "gauge", "Handshakes waiting for the control plane")                 \
    X(HANDSHAKES_PARKED_TOTAL, "handshakes_parked_total", "", "counter",                                               \
      "Handshakes that had to wait for the control plane")                                                             \
    X(HANDSHAKES_RESUMED, "handshakes_resumed_total", "", "counter", "Handshakes shortened by a session ticket")       \
    X(HANDSHAKE_RETRANSMISSIONS, "handshake_retransmissions_total", "", "counter", "DTLS flights sent again")          \
    X(COOKIES_SENT, "cookies_sent_total", "", "counter", "HelloVerifyRequest or HelloRetryRequest with a cookie sent") \
    X(ASSOCIATIONS_DTLS, "associations", "transport=\"dtls\"", "gauge", "Established associations")                    \
    X(ASSOCIATIONS_TLS, "associations", "transport=\"tls\"", "gauge", "")                                              \
    X(ASSOCIATIONS_RESUMED, "associations_resumed_total", "", "counter",                                               \
      "Associations that went on in the next data process")                                                            \
    X(ASSOCIATIONS_LOST, "associations_lost_total", "", "counter",                                                     \
      "Associations that the next data process could not go on with")                                                  \
    X(ASSOCIATIONS_ENDED_PEER, "associations_ended_total", "reason=\"peer\"", "counter",                               \
      "Associations ended, by reason")                                                                                 \
    X(ASSOCIATIONS_ENDED_IDLE, "associations_ended_total", "reason=\"idle\"", "counter", "")                           \
    X(ASSOCIATIONS_ENDED_REVOKED, "associations_ended_total", "reason=\"revoked\"", "counter", "")                     \
    X(ASSOCIATIONS_ENDED_REPLACED, "associations_ended_total", "reason=\"replaced\"", "counter", "")                   \
    X(ASSOCIATIONS_ENDED_ERROR, "associations_ended_total", "reason=\"error\"", "counter", "")                         \
    X(ASSOCIATIONS_ENDED_OPERATOR, "associations_ended_total", "reason=\"operator\"", "counter", "")                   \
    X(ASSOCIATIONS_ENDED_EVICTED, "associations_ended_total", "reason=\"evicted\"", "counter", "")                     \
    X(REBINDINGS, "rebindings_total", "", "counter",                                                                   \
      "Associations whose peer went on from another address (RFC 9146)")                                               \
    X(DATAGRAMS_RECEIVED, "datagrams_received_total", "", "counter", "Datagrams received from devices")                \
    X(DATAGRAMS_SENT, "datagrams_sent_total", "", "counter", "Datagrams sent to devices")                              \
    X(DATAGRAMS_DROPPED_MALFORMED, "datagrams_dropped_total", "reason=\"malformed\"", "counter",                       \
      "Datagrams dropped, by reason")                                                                                  \
    X(DATAGRAMS_DROPPED_UNKNOWN, "datagrams_dropped_total", "reason=\"unknown_association\"", "counter", "")           \
    X(DATAGRAMS_DROPPED_RECORD, "datagrams_dropped_total", "reason=\"record\"", "counter", "")                         \
    X(DATAGRAMS_DROPPED_BUFFER, "datagrams_dropped_total", "reason=\"no_buffer\"", "counter", "")                      \
    X(RECORDS_OPENED, "records_total", "direction=\"in\"", "counter", "Records of application data")                   \
    X(RECORDS_SEALED, "records_total", "direction=\"out\"", "counter", "")                                             \
    X(RECORDS_OPENED_TOGETHER, "records_together_total", "direction=\"in\"", "counter",                                \
      "Records worked on side by side with others")                                                                    \
    X(RECORDS_SEALED_TOGETHER, "records_together_total", "direction=\"out\"", "counter", "")                           \
    X(RECORDS_HANDED_OVER, "records_handed_over_total", "", "counter",                                                 \
      "Records handed over to the worker that their Connection ID names")                                              \
    X(RECORDS_HANDOVER_FULL, "records_dropped_total", "reason=\"handover_full\"", "counter",                           \
      "Records dropped, by reason")                                                                                    \
    X(RECORDS_UNKNOWN_CID, "records_dropped_total", "reason=\"unknown_connection_id\"", "counter", "")                 \
    X(KERNEL_TLS_IN, "kernel_tls_streams_total", "direction=\"in\"", "counter",                                        \
      "TLS associations handed to the kernel, by direction")                                                           \
    X(KERNEL_TLS_OUT, "kernel_tls_streams_total", "direction=\"out\"", "counter", "")                                  \
    X(BYTES_IN, "bytes_total", "direction=\"in\"", "counter", "Bytes of application data")                             \
    X(BYTES_OUT, "bytes_total", "direction=\"out\"", "counter", "")                                                    \
    X(STREAMS_ACCEPTED, "streams_accepted_total", "", "counter", "TCP connections accepted")                           \
    X(STREAMS_REFUSED, "streams_refused_total", "", "counter", "TCP connections refused at a limit")                   \
    X(COAP_MALFORMED, "binding_errors_total", "binding=\"coap\",error=\"malformed\"", "counter",                       \
      "Messages that a binding could not take")                                                                        \
    X(HTTP_MALFORMED, "binding_errors_total", "binding=\"http\",error=\"malformed\"", "counter", "")                   \
    X(COAP_UPSTREAM_MALFORMED, "binding_errors_total", "binding=\"coap\",error=\"upstream\"", "counter", "")           \
    X(HTTP_UPSTREAM_MALFORMED, "binding_errors_total", "binding=\"http\",error=\"upstream\"", "counter", "")           \
    X(HTTP_SLOW, "binding_errors_total", "binding=\"http\",error=\"slow\"", "counter", "")                             \
    X(COAP_DUPLICATES, "coap_duplicates_total", "", "counter",                                                         \
      "Duplicate CoAP messages answered from the record of exchanges")                                                 \
    X(COAP_RETRANSMISSIONS_DEVICE, "coap_retransmissions_total", "leg=\"device\"", "counter",                          \
      "CoAP messages sent again")                                                                                      \
    X(COAP_RETRANSMISSIONS_UPSTREAM, "coap_retransmissions_total", "leg=\"upstream\"", "counter", "")                  \
    X(COAP_EXCHANGES_EVICTED, "coap_exchanges_evicted_total", "", "counter",                                           \
      "Recorded exchanges given up before EXCHANGE_LIFETIME for want of memory")                                       \
    X(COAP_OBSERVATIONS, "coap_observations", "", "gauge", "Observations held for devices (RFC 7641)")                 \
    X(COAP_MESSAGE_IDS_REUSED, "coap_message_ids_reused_total", "", "counter",                                         \
      "Message IDs towards an upstream used again within EXCHANGE_LIFETIME")                                           \
    X(REFUSED_MALFORMED, "refusals_total", "reason=\"malformed\"", "counter",                                          \
      "Primitives refused by sagate, by reason")                                                                       \
    X(REFUSED_FROM_MISSING, "refusals_total", "reason=\"from_missing\"", "counter", "")                                \
    X(REFUSED_FROM_FORM, "refusals_total", "reason=\"from_form\"", "counter", "")                                      \
    X(REFUSED_ORIGINATOR, "refusals_total", "reason=\"originator\"", "counter", "")                                    \
    X(REFUSED_RESERVED, "refusals_total", "reason=\"reserved_originator\"", "counter", "")                             \
    X(REFUSED_SECOND_ORIGINATOR, "refusals_total", "reason=\"second_originator\"", "counter", "")                      \
    X(REFUSED_NO_ASSOCIATION, "refusals_total", "reason=\"association_required\"", "counter", "")                      \
    X(REFUSED_OPERATION, "refusals_total", "reason=\"operation\"", "counter", "")                                      \
    X(REFUSED_CONTENT, "refusals_total", "reason=\"content\"", "counter", "")                                          \
    X(REFUSED_UNAVAILABLE, "refusals_total", "reason=\"upstream_unavailable\"", "counter", "")                         \
    X(REFUSED_LIMIT, "refusals_total", "reason=\"limit\"", "counter", "")                                              \
    X(REFUSED_TIMEOUT, "refusals_total", "reason=\"upstream_timeout\"", "counter", "")                                 \
    X(LIMIT_HANDSHAKES, "limit_hits_total", "limit=\"handshakes\"", "counter", "Times a configured limit was hit")     \
    X(LIMIT_PARKED, "limit_hits_total", "limit=\"parked\"", "counter", "")                                             \
    X(LIMIT_BACKLOG, "limit_hits_total", "limit=\"backlog\"", "counter", "")                                           \
    X(LIMIT_ASSOCIATIONS, "limit_hits_total", "limit=\"associations\"", "counter", "")                                 \
    X(LIMIT_IDENTITY, "limit_hits_total", "limit=\"associations_per_identity\"", "counter", "")                        \
    X(LIMIT_IN_FLIGHT_ASSOCIATION, "limit_hits_total", "limit=\"requests_per_association\"", "counter", "")            \
    X(LIMIT_IN_FLIGHT_UPSTREAM, "limit_hits_total", "limit=\"requests_per_upstream\"", "counter", "")                  \
    X(REGISTRATIONS_LEARNED, "registrations_learned_total", "", "counter", "AE-IDs learned from the answers of a CSE") \
    X(REGISTRATIONS_UNLEARNED, "registrations_unlearned_total", "", "counter",                                         \
      "AE registrations whose answer did not tell the AE-ID")                                                          \
    X(REGISTRATIONS_FORGOTTEN, "registrations_forgotten_total", "", "counter",                                         \
      "AE-IDs forgotten because the AE was deleted")                                                                   \
    X(IO_BATCHES, "io_batches_total", "", "counter", "Batches that workers took from their io drivers")                \
    X(IO_SUBMISSIONS, "io_submissions_total", "", "counter", "Requests that workers made to the kernel's ring")        \
    X(IO_ENTERS, "io_enters_total", "", "counter", "System calls that workers made for input and output")

enum stat_id {
#define X(id, name, labels, type, help) STAT_##id,
    SAGATE_STATS(X)
#undef X
        STAT_COUNT
};

// Response status codes that have a row of their own in sagate_primitives_total; the last is "other".
// (The formatter moves one more row at each run.)
// clang-format off
#define SAGATE_STATS_RSC(X) \
    X(1000) X(1001) X(1002) X(2000) X(2001) X(2002) X(2004) X(4000) X(4001) X(4004) X(4005) X(4008) X(4015) X(4101) \
    X(4103) X(4105) X(4106) X(4107) X(4117) X(4126) X(4128) X(5000) X(5001) X(5103) X(5105) X(5206) X(5207)
// clang-format on
enum stats_rsc_row {
#define X(rsc) STATS_RSC_##rsc,
    SAGATE_STATS_RSC(X)
#undef X
        STATS_RSC_OTHER,
    STATS_RSC_COUNT
};

enum stats_binding { STATS_COAP, STATS_HTTP, STATS_BINDINGS };
enum { STATS_OPERATIONS = 6, STATS_SERVERS_MAX = 64, STATS_LATENCY_BUCKETS = 20 };

// Two programs that share counters must agree on it: raised by hand for what the number of counters does not tell.
enum { STATS_LAYOUT = 3 << 16 | STAT_COUNT };

// Upper bounds of the latency histogram in microseconds: 100 µs · 2^n; the last bucket takes the rest.
static inline unsigned stats_latency_bucket(uint64_t us)
{
    unsigned bucket = 0;
    while (bucket < STATS_LATENCY_BUCKETS - 1 && us > (100ULL << bucket))
        bucket++;
    return bucket;
}

struct stats_server {
    uint64_t healthy[STATS_BINDINGS]; // 1 or 0, as this worker sees it
    uint64_t requests[STATS_BINDINGS], failures[STATS_BINDINGS], in_flight[STATS_BINDINGS];
    uint64_t connections;
    uint64_t latency[STATS_BINDINGS][STATS_LATENCY_BUCKETS];
    uint64_t latency_sum_us[STATS_BINDINGS];
};

// One per worker, page-aligned in the shared memory.
struct stats {
    uint64_t layout; // STATS_LAYOUT
    uint64_t counters[STAT_COUNT];
    uint64_t primitives[STATS_BINDINGS][STATS_OPERATIONS][STATS_RSC_COUNT]; // operation 0: could not be told
    struct stats_server servers[STATS_SERVERS_MAX];                         // index: config server number
    struct stats_profile profile;
};

// Writers: the worker that owns `stats`. Readers use stats_get.
static inline void stats_add(struct stats *stats, enum stat_id id, uint64_t n)
{
    __atomic_store_n(&stats->counters[id], stats->counters[id] + n, __ATOMIC_RELAXED);
}
static inline void stats_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline void stats_set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}
static inline uint64_t stats_get(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

enum stats_rsc_row stats_rsc_row(int rsc);

#endif
