// Folded streams whose records a kernel makes and opens: what is handed to it and when, and what stays to be done. The
// kernel is a fake that keeps what it is given. SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/io/io.h"
#include "tests/unit/stream_pair.h"
#include "tests/unit/unit.h"

#include <linux/tls.h>
#include <string.h>

static struct fake {
    unsigned keys_in, keys_out; // times set
    struct ktls_keys in, out;
    int says; // to keys
    uint8_t type;
    uint8_t record[100];
    size_t record_len;
    unsigned records_sent;
    int send_says;
    uint64_t made;
    uint8_t data[PAIR_LONG]; // what the sink got in clear
    size_t data_len;
    int sink_says;
} fake;

static int keys(void *context, bool out, const struct ktls_keys *given)
{
    (void)context;
    if (fake.says != SAGATE_OK)
        return fake.says;
    *(out ? &fake.out : &fake.in) = *given;
    fake.keys_out += out ? 1 : 0;
    fake.keys_in += out ? 0 : 1;
    fake.made = out ? 0 : fake.made;
    return SAGATE_OK;
}

static int send_record(void *context, uint8_t type, const uint8_t *data, size_t len)
{
    (void)context;
    if (fake.send_says != SAGATE_OK)
        return fake.send_says;
    CU_ASSERT_TRUE_FATAL(len <= sizeof fake.record);
    fake.type = type;
    memcpy(fake.record, data, len);
    fake.record_len = len;
    fake.records_sent++;
    return SAGATE_OK;
}

static uint64_t made(void *context)
{
    (void)context;
    return fake.made;
}

static int to_socket(void *context, const uint8_t *data, size_t len)
{
    (void)context;
    if (fake.sink_says == SAGATE_ELIMIT)
        return SAGATE_ELIMIT;
    CU_ASSERT_TRUE_FATAL(fake.data_len + len <= sizeof fake.data);
    memcpy(fake.data + fake.data_len, data, len);
    fake.data_len += len;
    return fake.sink_says;
}

static struct ktls_support everything = {.rekey = true};
static struct ktls_support no_rekey;
static const struct record_kernel kernel = {.support = &everything, .keys = keys, .send = send_record, .records = made};
static const struct record_kernel old_kernel = {
    .support = &no_rekey, .keys = keys, .send = send_record, .records = made};
static const struct handshake_sink sink = {.send = to_socket};

static void open_handed_over(struct pair *pair, size_t which, const struct record_kernel *to)
{
    fake = (struct fake){0};
    pair_open(pair, &pair_suites[which]);
    stream_set_sink(pair->stream, &sink);
    CU_ASSERT_EQUAL(stream_to_kernel(pair->stream, to), RECORD_KERNEL_OUT | RECORD_KERNEL_IN);
    CU_ASSERT_EQUAL(stream_to_kernel(pair->stream, to), 0);
}

static bool sent(uint8_t type, const void *data, size_t len)
{
    return fake.type == type && fake.record_len == len && memcmp(fake.record, data, len) == 0;
}

static const uint8_t notify[] = {1, 0};
static const uint8_t update[] = {24, 0, 0, 1, 0};
static const uint8_t update_both[] = {24, 0, 0, 1, 1};

static void keys_are_those_of_the_stream(void)
{
    for (size_t which = 0; which < PAIR_SUITES; which++) {
        struct pair pair;
        fake = (struct fake){0};
        pair_open(&pair, &pair_suites[which]);
        bool small_tag = strstr(pair.suite, "CCM-8") != NULL;
        CU_ASSERT_TRUE(pair_echo(&pair, 100)); // numbers have gone on
        unsigned done = stream_to_kernel(pair.stream, &kernel);
        CU_ASSERT_EQUAL(done, small_tag ? 0 : RECORD_KERNEL_OUT | RECORD_KERNEL_IN);
        if (small_tag) { // no kernel has it
            CU_ASSERT_TRUE(pair_echo(&pair, 100));
            pair_close(&pair);
            continue;
        }
        const struct stream *stream = pair.stream;
        const uint8_t *key = pair.tls13 ? stream->tls13.out.key : stream->tls12.key_out;
        const uint8_t *iv = pair.tls13 ? stream->tls13.out.iv : stream->tls12.iv_out;
        uint64_t next = pair.tls13 ? stream->tls13.out.next : stream->tls12.next_out;
        uint8_t number[8];
        tls_put(number, next, 8);
        struct tls_crypto_info info;
        memcpy(&info, fake.out.bytes, sizeof info);
        CU_ASSERT_EQUAL(info.version, pair.tls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION);
        if (info.cipher_type == TLS_CIPHER_AES_GCM_128) {
            struct tls12_crypto_info_aes_gcm_128 gcm;
            CU_ASSERT_EQUAL_FATAL(fake.out.len, sizeof gcm);
            memcpy(&gcm, fake.out.bytes, sizeof gcm);
            CU_ASSERT_EQUAL(memcmp(gcm.key, key, 16), 0);
            CU_ASSERT_EQUAL(memcmp(gcm.salt, iv, 4), 0);
            CU_ASSERT_EQUAL(memcmp(gcm.iv, pair.tls13 ? iv + 4 : number, 8), 0);
            CU_ASSERT_EQUAL(memcmp(gcm.rec_seq, number, 8), 0);
        } else if (info.cipher_type == TLS_CIPHER_CHACHA20_POLY1305) {
            struct tls12_crypto_info_chacha20_poly1305 chacha;
            CU_ASSERT_EQUAL_FATAL(fake.out.len, sizeof chacha);
            memcpy(&chacha, fake.out.bytes, sizeof chacha);
            CU_ASSERT_EQUAL(memcmp(chacha.key, key, 32), 0);
            CU_ASSERT_EQUAL(memcmp(chacha.iv, iv, 12), 0);
            CU_ASSERT_EQUAL(memcmp(chacha.rec_seq, number, 8), 0);
        }
        pair_close(&pair);
    }
}

static void what_a_kernel_cannot_stays_here(void)
{
    static const int answers[] = {SAGATE_EUNSUPPORTED, SAGATE_AGAIN};
    for (size_t i = 0; i < 2; i++) {
        struct pair pair;
        fake = (struct fake){.says = answers[i]};
        pair_open(&pair, &pair_suites[PAIR_TLS13]);
        for (int round = 0; round < 40; round++) { // nobody tries for ever
            CU_ASSERT_EQUAL(stream_to_kernel(pair.stream, &kernel), 0);
            CU_ASSERT_TRUE(pair_echo(&pair, 100));
        }
        fake.says = SAGATE_OK;
        CU_ASSERT_EQUAL(stream_to_kernel(pair.stream, &kernel), 0);
        pair_close(&pair);
    }
}

static void each_direction_goes_when_nothing_is_left_of_it(void)
{
    struct pair pair;
    uint8_t bytes[200];
    size_t n;
    fake = (struct fake){0};
    pair_open(&pair, &pair_suites[PAIR_TLS13]);
    pair.sink_says = SAGATE_ELIMIT;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 10), SAGATE_AGAIN); // sealed, and refused
    size_t len = pair_craft(&pair, TLS_APPLICATION, "hello", 5, bytes);
    CU_ASSERT_EQUAL(pair_give(&pair, bytes, 7), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_to_kernel(pair.stream, &kernel), 0);
    CU_ASSERT_EQUAL(pair_give(&pair, bytes + 7, len - 7), SAGATE_OK);
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_to_kernel(pair.stream, &kernel), RECORD_KERNEL_IN);
    pair.sink_says = SAGATE_OK;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, NULL, 0), SAGATE_OK);
    CU_ASSERT_EQUAL(stream_to_kernel(pair.stream, &kernel), RECORD_KERNEL_OUT);
    CU_ASSERT_EQUAL(tls_client_read(pair.client, bytes, sizeof bytes), 10);
    pair_close(&pair);
}

static void data_passes_in_clear(void)
{
    struct pair pair;
    size_t n;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 20000), SAGATE_OK);
    CU_ASSERT_TRUE(fake.data_len == 20000 && memcmp(fake.data, pair_pattern, 20000) == 0);
    stream_lend(pair.stream, slice_of(pair_pattern, 20000));
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
    CU_ASSERT_TRUE(n == sizeof pair_plain && memcmp(pair_plain, pair_pattern, n) == 0);
    CU_ASSERT_EQUAL(stream_keep(pair.stream), SAGATE_OK);                             // a pause
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_ALERT, notify, 2), SAGATE_EGONE); // out of turn
    stream_lend(pair.stream, slice_of(pair_pattern, 3));
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
    CU_ASSERT_TRUE(n == 20000 - sizeof pair_plain && memcmp(pair_plain, pair_pattern + sizeof pair_plain, n) == 0);
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
    CU_ASSERT_EQUAL(n, 3);
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_AGAIN);
    CU_ASSERT_TRUE(pair_idle_is_small(&pair));
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_ALERT, notify, 2), SAGATE_DONE);
    stream_close(pair.stream);
    CU_ASSERT_TRUE(sent(TLS_ALERT, notify, 2));
    pair_close(&pair);
}

static void refused_data_is_kept_in_clear(void)
{
    struct pair pair;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    fake.sink_says = SAGATE_ELIMIT;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 20000), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 1), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update_both, 5), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(fake.records_sent, 0); // no place behind what is pending
    CU_ASSERT_EQUAL(fake.keys_out, 1);
    fake.sink_says = SAGATE_OK;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern + 20000, 100), SAGATE_OK);
    CU_ASSERT_TRUE(sent(TLS_HANDSHAKE, update, 5)); // before the next data
    CU_ASSERT_EQUAL(fake.keys_out, 2);
    CU_ASSERT_TRUE(fake.data_len == 20100 && memcmp(fake.data, pair_pattern, 20100) == 0);
    pair_close(&pair);
}

static void key_updates_reach_the_kernel(void)
{
    struct pair pair;
    struct ktls_keys before;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    before = fake.in;
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 5), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(fake.keys_in, 2);
    CU_ASSERT_EQUAL(fake.keys_out, 1);
    CU_ASSERT_NOT_EQUAL(memcmp(before.bytes, fake.in.bytes, before.len), 0);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update_both, 5), SAGATE_AGAIN);
    CU_ASSERT_TRUE(sent(TLS_HANDSHAKE, update, 5));
    CU_ASSERT_EQUAL(fake.keys_in, 3);
    CU_ASSERT_EQUAL(fake.keys_out, 2);
    for (int i = 2; i < 16; i++)
        CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 5), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 5), SAGATE_EGONE); // a flood
    pair_close(&pair);
    // Where the kernel takes no other keys the end is in order.
    open_handed_over(&pair, PAIR_TLS13, &old_kernel);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 5), SAGATE_EGONE);
    CU_ASSERT_EQUAL(fake.keys_in, 1);
    stream_close(pair.stream);
    CU_ASSERT_TRUE(sent(TLS_ALERT, notify, 2));
    pair_close(&pair);
}

// Once it has seen the first byte a kernel that takes new keys gives nothing more until it has them.
static void key_updates_in_pieces_end_where_a_kernel_waits_for_keys(void)
{
    struct pair pair;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 1), SAGATE_EGONE);
    stream_close(pair.stream);
    CU_ASSERT_TRUE(sent(TLS_ALERT, notify, 2));
    pair_close(&pair);
    open_handed_over(&pair, PAIR_TLS13, &old_kernel);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update, 1), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update + 1, 4), SAGATE_EGONE);
    pair_close(&pair);
}

// The keys before still wait behind data that the socket has not taken.
static void key_updates_wait_for_those_before(void)
{
    struct pair pair;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update_both, 5), SAGATE_AGAIN);
    fake.send_says = SAGATE_ELIMIT;
    fake.made = aead_properties(pair.stream->tls13.aead)->seal_limit; // still those of the key before
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, update_both, 5), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 10), SAGATE_OK);
    CU_ASSERT_EQUAL(fake.keys_out, 2);
    CU_ASSERT_EQUAL(fake.data_len, 10);
    fake.send_says = SAGATE_OK;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern + 10, 10), SAGATE_OK);
    CU_ASSERT_EQUAL(fake.records_sent, 2);
    CU_ASSERT_EQUAL(fake.keys_out, 3);
    CU_ASSERT_TRUE(fake.data_len == 20 && memcmp(fake.data, pair_pattern, 20) == 0);
    pair_close(&pair);
}

static void what_does_not_belong_ends_the_stream(void)
{
    static const uint8_t hello[] = {1, 0, 0, 1, 0};
    static const uint8_t fatal[] = {2, 80};
    const struct {
        size_t which;
        uint8_t type;
        struct slice body;
        uint8_t alert; // 0: none
    } cases[] = {
        {PAIR_TLS13, TLS_HANDSHAKE, {hello, sizeof hello}, ALERT_UNEXPECTED_MESSAGE},
        {PAIR_TLS13, TLS_CHANGE_CIPHER_SPEC, {hello, 1}, ALERT_UNEXPECTED_MESSAGE},
        {PAIR_TLS13, IO_RECORD_FORGED, {hello, 0}, ALERT_BAD_RECORD_MAC},
        {0, IO_RECORD_FORGED, {hello, 0}, ALERT_BAD_RECORD_MAC},
        {PAIR_TLS13, IO_RECORD_TOO_LONG, {hello, 0}, 22},
        {0, TLS_ALERT, {fatal, sizeof fatal}, 0},
        {PAIR_TLS13, TLS_ALERT, {fatal, sizeof fatal}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        const uint8_t alert[] = {2, cases[i].alert};
        open_handed_over(&pair, cases[i].which, &kernel);
        CU_ASSERT_EQUAL(stream_control(pair.stream, cases[i].type, cases[i].body.data, cases[i].body.len),
                        SAGATE_EGONE);
        CU_ASSERT_TRUE(cases[i].alert == 0 ? fake.records_sent == 0 : sent(TLS_ALERT, alert, 2));
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 1), SAGATE_EGONE);
        unsigned count = fake.records_sent;
        stream_close(pair.stream);
        CU_ASSERT_EQUAL(fake.records_sent, count);
        pair_close(&pair);
    }
    struct pair pair;
    static const uint8_t no_renegotiation[] = {1, 100};
    open_handed_over(&pair, 0, &kernel);
    CU_ASSERT_EQUAL(stream_control(pair.stream, TLS_HANDSHAKE, hello, sizeof hello), SAGATE_AGAIN);
    CU_ASSERT_TRUE(sent(TLS_ALERT, no_renegotiation, 2));
    pair_close(&pair);
}

static void limits_hold_in_the_kernel_too(void)
{
    struct pair pair;
    open_handed_over(&pair, PAIR_TLS13, &kernel);
    uint64_t limit = aead_properties(pair.stream->tls13.aead)->seal_limit;
    fake.made = limit - 65536;
    CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 10), SAGATE_OK);
    CU_ASSERT_TRUE(sent(TLS_HANDSHAKE, update, 5));
    CU_ASSERT_EQUAL(fake.keys_out, 2);
    CU_ASSERT_EQUAL(fake.data_len, 10);
    pair_close(&pair);
    for (size_t which = 0; which <= PAIR_TLS13; which += PAIR_TLS13) { // TLS 1.2, or a kernel without new keys
        open_handed_over(&pair, which, &old_kernel);
        fake.made = limit - 65536;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 10), SAGATE_EGONE);
        CU_ASSERT_EQUAL(fake.data_len, 0);
        stream_close(pair.stream);
        CU_ASSERT_TRUE(sent(TLS_ALERT, notify, 2));
        pair_close(&pair);
    }
}

// Whatever this machine's kernel has, the answer is one, and a socket without the layer is left as it was.
static void the_probe_tells_what_there_is(void)
{
    struct ktls_support support;
    char text[512];
    bool any = ktls_probe(&support);
    bool found = false;
    for (int version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < KTLS_CIPHERS; cipher++)
            found |= support.out[version][cipher] && support.in[version][cipher];
    }
    CU_ASSERT_EQUAL(any, found);
    ktls_describe(&support, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, support.rekey ? "new keys: yes" : "new keys: no"));
    ktls_describe(&everything, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "TLS 1.2 AES-128-GCM, "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "TLS 1.3 ChaCha20-Poly1305; new keys: yes"));
}

static const struct unit_test tests[] = {
    {"keys are those of the stream", keys_are_those_of_the_stream},
    {"what a kernel cannot stays here", what_a_kernel_cannot_stays_here},
    {"each direction goes when nothing is left of it", each_direction_goes_when_nothing_is_left_of_it},
    {"data passes in clear", data_passes_in_clear},
    {"refused data is kept in clear", refused_data_is_kept_in_clear},
    {"key updates reach the kernel", key_updates_reach_the_kernel},
    {"key updates in pieces end where a kernel waits for keys",
     key_updates_in_pieces_end_where_a_kernel_waits_for_keys},
    {"key updates wait for those before", key_updates_wait_for_those_before},
    {"what does not belong ends the stream", what_does_not_belong_ends_the_stream},
    {"limits hold in the kernel too", limits_hold_in_the_kernel_too},
    {"the probe tells what there is", the_probe_tells_what_there_is},
};

int main(void)
{
    for (size_t i = 0; i < sizeof pair_pattern; i++)
        pair_pattern[i] = (uint8_t)(i % 251);
    for (int cipher = 0; cipher < KTLS_CIPHERS; cipher++) {
        for (int version = 0; version < 2; version++)
            everything.in[version][cipher] = everything.out[version][cipher] = no_rekey.in[version][cipher] =
                no_rekey.out[version][cipher] = true;
    }
    return unit_main("stream_kernel", tests, sizeof tests / sizeof *tests);
}
