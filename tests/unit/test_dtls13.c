// DTLS 1.3 records: answers computed independently from RFC 9147, every header form, windows, key updates, limits, and
// what is not authentic. Every AEAD, with and without Connection IDs.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/dtls13.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

enum { RECORD = 18000, CIDS = 4 };

static const uint8_t cid_bytes[] = {0xc0, 0xc1, 0xc2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const struct {
    uint8_t in, out;
} cids[CIDS] = {{0, 0}, {8, 0}, {3, 5}, {16, 16}};

static uint8_t secret_in[48], secret_out[48];

static struct slice cid(size_t len)
{
    return slice_of(cid_bytes, len);
}

static struct dtls13 make(enum aead aead, size_t cid_in, size_t cid_out)
{
    struct dtls13 state = {0};
    for (uint8_t i = 0; i < 48; i++) {
        secret_in[i] = (uint8_t)(100 + i);
        secret_out[i] = (uint8_t)(1 + i);
    }
    CU_ASSERT_EQUAL_FATAL(dtls13_init(&state, aead, 3, secret_in, secret_out, cid(cid_in), cid(cid_out)), SAGATE_OK);
    CU_ASSERT_TRUE(dtls13_is_sane(&state));
    return state;
}

static struct dtls13 mirror(const struct dtls13 *state)
{
    struct dtls13 peer;
    dtls13_mirror(&peer, state);
    return peer;
}

// Opens the only record of a datagram; -1: it was no record.
static int open_datagram(struct dtls13 *state, const uint8_t *data, size_t len, uint8_t out[RECORD],
                         struct dtls13_opened *opened)
{
    struct slice rest = slice_of(data, len);
    struct dtls13_record record;
    *opened = (struct dtls13_opened){0};
    if (dtls13_next(state->cid_in_len, &rest, &record) != SAGATE_OK)
        return -1;
    return (int)dtls13_open(state, &record, out, RECORD, opened);
}

static size_t seal(struct dtls13 *state, uint8_t type, const void *data, size_t len, uint8_t out[RECORD])
{
    size_t n;
    CU_ASSERT_EQUAL_FATAL(dtls13_seal(state, type, data, len, out, RECORD, &n), SAGATE_OK);
    CU_ASSERT_EQUAL(n, dtls13_sealed_len(state, len));
    CU_ASSERT_TRUE(n <= len + DTLS13_OVERHEAD_MAX);
    return n;
}

static int pass(struct dtls13 *from, struct dtls13 *to)
{
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    size_t n = seal(from, DTLS13_APPLICATION, "hello", 5, sealed);
    return open_datagram(to, sealed, n, out, &opened);
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; hex[2 * n] != '\0'; n++) {
        char two[3] = {hex[2 * n], hex[2 * n + 1], '\0'};
        out[n] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

// Traffic secret 1, 2, 3 …; record 0x10005 of epoch 3 with "reading 21.5"; and, after an update of the secret, record 0
// of epoch 4 with "x", to a peer with the Connection ID c0c1c2.
static void known_answers(void)
{
    static const struct {
        enum aead aead;
        const char *first, *updated;
    } cases[] = {
        {AEAD_AES_128_GCM, "2fe559001d4737d93ad52ba357da2aa1411c52d50ba59c6848bd5b3059e982cabbae",
         "3cc0c1c2a9340012bfc7a57b93030e958939bf65d6443649e24e"},
        {AEAD_AES_256_GCM, "2fbbe7001d97077110b88f0fc501f34aaa560c015cd6cae2e38814b246ca65c8b791",
         "3cc0c1c21efe0012601c1bf77657e6da895acbb2d5e583f1d021"},
        {AEAD_AES_128_CCM, "2f26dc001d0159ebeb123ca376ce2686a0c1b46d85697d8f49ac820b2333ace28f7e",
         "3cc0c1c2a6f40012fe4d527319b5dac3b3f07844dc17f2fc7906"},
        {AEAD_AES_128_CCM_8, "2fc61100150159ebeb123ca376ce2686a0c1d0dc0fd639170926",
         "3cc0c1c2c20c0010fe4d616ef7687cad5776295b4b7d901b"},
        {AEAD_CHACHA20_POLY1305, "2fbee6001d901e054a8b0f594ffa0e545f7038fe5500051e88d9859d9f1a95b87b04",
         "3cc0c1c2f01e00124b9cdc57e71b6e9d4bff114b6df9f6851f64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t want[100];
        static uint8_t got[RECORD];
        struct dtls13 state = make(cases[i].aead, 0, 0);
        state.next_out += 0x10005;
        size_t len = from_hex(cases[i].first, want);
        CU_ASSERT_EQUAL(seal(&state, DTLS13_APPLICATION, "reading 21.5", 12, got), len);
        CU_ASSERT_EQUAL(memcmp(got, want, len), 0);
        state = make(cases[i].aead, 8, 3);
        CU_ASSERT_EQUAL(dtls13_update_out(&state), SAGATE_OK);
        len = from_hex(cases[i].updated, want);
        CU_ASSERT_EQUAL(seal(&state, DTLS13_APPLICATION, "x", 1, got), len);
        CU_ASSERT_EQUAL(memcmp(got, want, len), 0);
    }
}

// Record 0x1234 with "form", AES-128-GCM: 8 and 16 bits of number, with and without length, Connection ID and padding.
static void every_form_of_header_is_read(void)
{
    static const struct {
        const char *record;
        uint8_t cid;
    } cases[] = {
        {"23f28c9f841fa90bc51fa6928304e898e834ed734b6902", 0},
        {"33c0c1c2eb8c9f841fa901b13a8d2632ff06d805f27f478c67fc", 3},
        {"272900158c9f841fa9888bce76e834df518b0e6210eca18f87", 0},
        {"37c0c1c2c700158c9f841fa991d1e99dee7d0a03b7e133579755367f", 3},
        {"2b6c7e8c9f841fa9b197424c452846887af9e86d49a574e03f79069632", 0},
        {"3bc0c1c2dc298c9f841fa9b197424c45792ed240ff10bed5e5cc0d33f965dd3a", 3},
        {"2ff220001a8c9f841fa9b197424c455cd1040c02a71826585003d7bdc26b98", 0},
        {"3fc0c1c25bda001a8c9f841fa9b197424c454b576b675931fe5f9afc1d0afdd75f85", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[100];
        static uint8_t out[RECORD];
        struct dtls13_opened opened;
        size_t len = from_hex(cases[i].record, bytes);
        struct dtls13 server = make(AEAD_AES_128_GCM, 8, cases[i].cid);
        struct dtls13 state = mirror(&server);
        state.newest += 0x1230;
        state.window = 1;
        CU_ASSERT_EQUAL(open_datagram(&state, bytes, len, out, &opened), DTLS13_DATA);
        CU_ASSERT_EQUAL(opened.number, 3ULL << 48 | 0x1234);
        CU_ASSERT_TRUE(opened.newest && !opened.new_epoch && opened.len == 4 && memcmp(out, "form", 4) == 0);
        // Something behind it: with a length it is another record, without it is part of this one.
        bytes[len] = 0x2f;
        struct slice rest = slice_of(bytes, len + 1);
        struct dtls13_record record;
        CU_ASSERT_EQUAL(dtls13_next(cases[i].cid, &rest, &record), SAGATE_OK);
        CU_ASSERT_EQUAL(rest.len, (bytes[0] & 4) != 0 ? 1 : 0);
    }
}

static void records_pass_whatever_their_length(void)
{
    static const size_t sizes[] = {0, 1, 2, 6, 7, 8, 15, 16, 17, 1300, 16383, 16384};
    static uint8_t data[RECORD];
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    for (enum aead aead = 1; aead < AEAD_COUNT; aead++) {
        for (size_t c = 0; c < CIDS; c++) {
            struct dtls13 state = make(aead, cids[c].in, cids[c].out);
            struct dtls13 peer = mirror(&state);
            struct dtls13_opened opened;
            CU_ASSERT_TRUE(slice_equal(dtls13_cid_in(&peer), cid(cids[c].out)));
            CU_ASSERT_TRUE(slice_equal(dtls13_cid_out(&peer), cid(cids[c].in)));
            memset(data, 0xa5, sizeof data);
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                size_t n = seal(&state, DTLS13_APPLICATION, data, sizes[i], sealed);
                CU_ASSERT_EQUAL(open_datagram(&peer, sealed, n, out, &opened), DTLS13_DATA);
                CU_ASSERT_TRUE(opened.len == sizes[i] && memcmp(out, data, sizes[i]) == 0);
                CU_ASSERT_EQUAL(open_datagram(&peer, sealed, n, out, &opened), DTLS13_REPLAYED);
                n = seal(&peer, DTLS13_HANDSHAKE, data, sizes[i], sealed);
                CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), DTLS13_MESSAGE);
                CU_ASSERT_EQUAL(opened.len, sizes[i]);
            }
            size_t n;
            CU_ASSERT_EQUAL(dtls13_seal(&state, 23, data, 16385, sealed, sizeof sealed, &n), SAGATE_ETOOBIG);
            CU_ASSERT_EQUAL(dtls13_seal(&state, 23, data, 100, sealed, dtls13_sealed_len(&state, 100) - 1, &n),
                            SAGATE_ETOOBIG);
        }
    }
}

static void order_matters_only_beyond_the_window(void)
{
    static uint8_t sealed[200][64];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    struct dtls13 state = make(AEAD_AES_128_GCM, 8, 0);
    struct dtls13 peer = mirror(&state);
    size_t n = 0;
    peer.next_out += 0xff80; // numbers of which the lower 16 bits start anew
    state.newest += 0xff70;
    state.window = 1;
    for (int i = 0; i < 200; i++)
        CU_ASSERT_EQUAL(dtls13_seal(&peer, 23, (const uint8_t *)"abcdef", 6, sealed[i], 64, &n), SAGATE_OK);
    static const struct {
        int which;
        int verdict;
        bool newest;
    } steps[] = {{100, DTLS13_DATA, true},      {100, DTLS13_REPLAYED, false}, {99, DTLS13_DATA, false},
                 {37, DTLS13_DATA, false},      {36, DTLS13_REPLAYED, false},  {37, DTLS13_REPLAYED, false},
                 {101, DTLS13_DATA, true},      {38, DTLS13_DATA, false},      {199, DTLS13_DATA, true},
                 {135, DTLS13_REPLAYED, false}, {136, DTLS13_DATA, false},     {198, DTLS13_DATA, false},
                 {199, DTLS13_REPLAYED, false}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        CU_ASSERT_EQUAL(open_datagram(&state, sealed[steps[i].which], n, out, &opened), steps[i].verdict);
        CU_ASSERT_EQUAL(opened.newest, steps[i].newest);
    }
    CU_ASSERT_EQUAL(state.newest, 3ULL << 48 | (0xff80 + 199));
    CU_ASSERT_EQUAL(state.failed, 0);
}

static void what_is_not_authentic_changes_nothing(void)
{
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    for (enum aead aead = 1; aead < AEAD_COUNT; aead++) {
        for (size_t c = 0; c < CIDS; c++) {
            struct dtls13 state = make(aead, cids[c].in, cids[c].out);
            struct dtls13 peer = mirror(&state);
            CU_ASSERT_EQUAL(pass(&peer, &state), DTLS13_DATA);
            const struct dtls13 before = state;
            size_t n = seal(&peer, DTLS13_APPLICATION, "hello, world", 12, sealed);
            for (size_t bit = 0; bit < 8 * n; bit++) {
                sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
                int verdict = open_datagram(&state, sealed, n, out, &opened);
                CU_ASSERT_TRUE(verdict == -1 || verdict > DTLS13_UNWANTED);
                CU_ASSERT_EQUAL(opened.len, 0);
                sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
            }
            for (size_t len = 0; len < n; len++)
                CU_ASSERT_EQUAL(open_datagram(&state, sealed, len, out, &opened), -1);
            CU_ASSERT_TRUE(state.failed > 0);
            state.failed = before.failed;
            CU_ASSERT_EQUAL(memcmp(&state, &before, sizeof before), 0);
            CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), DTLS13_DATA);
        }
    }
}

static void foreign_connection_ids_cost_no_decryption(void)
{
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    struct dtls13 state = make(AEAD_AES_128_CCM_8, 8, 0);
    struct dtls13 peer = mirror(&state);
    for (size_t i = 0; i < 8; i++) {
        size_t n = seal(&peer, DTLS13_APPLICATION, "x", 1, sealed);
        sealed[1 + i] ^= 1;
        CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), DTLS13_OTHER_CID);
        sealed[1 + i] ^= 1;
        CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), DTLS13_DATA);
    }
    struct dtls13 server_without = make(AEAD_AES_128_CCM_8, 0, 0);
    struct dtls13 without = mirror(&server_without);
    without.next_out += 100;
    CU_ASSERT_EQUAL(pass(&without, &state), DTLS13_OTHER_CID); // none, where one was agreed
    CU_ASSERT_EQUAL(pass(&peer, &server_without), -1);         // one, where none was
    CU_ASSERT_EQUAL(state.failed, 0);
}

static void epochs_that_are_not_now_are_told_apart(void)
{
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    struct dtls13 state = make(AEAD_AES_128_GCM, 0, 0);
    struct dtls13 peer = mirror(&state);
    size_t n = seal(&peer, DTLS13_APPLICATION, "x", 1, sealed);
    static const int verdicts[] = {DTLS13_OTHER_EPOCH, DTLS13_OTHER_EPOCH, DTLS13_EARLIER, DTLS13_DATA};
    for (uint8_t bits = 0; bits < 4; bits++) {
        sealed[0] = (uint8_t)((sealed[0] & 0xfc) | bits);
        CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), verdicts[bits]);
    }
    CU_ASSERT_EQUAL(state.failed, 0);
    static const uint8_t clear[] = {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 2};
    CU_ASSERT_EQUAL(open_datagram(&state, clear, sizeof clear, out, &opened), DTLS13_CLEAR);
    CU_ASSERT_EQUAL(open_datagram(&state, clear, sizeof clear - 1, out, &opened), -1);
    static const uint8_t first[] = {0, 19, 27, 0x40, 0x80, 0xff};
    for (size_t i = 0; i < sizeof first; i++) {
        sealed[0] = first[i];
        CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), -1);
    }
}

static void too_short_for_the_mask_is_dropped(void)
{
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    for (enum aead aead = 1; aead < AEAD_COUNT; aead++) {
        struct dtls13 state = make(aead, 0, 0);
        size_t least = aead == AEAD_AES_128_CCM_8 ? 16 : 17;
        for (uint8_t len = 0; len < 20; len++) {
            uint8_t bytes[30] = {0x2f, 0, 0, 0, len};
            CU_ASSERT_EQUAL(open_datagram(&state, bytes, 5U + len, out, &opened),
                            len < least ? DTLS13_MALFORMED : DTLS13_FORGED);
        }
    }
}

static void keys_follow_the_peer(void)
{
    static uint8_t forged[RECORD];
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    for (enum aead aead = 1; aead < AEAD_COUNT; aead++) {
        for (size_t c = 0; c < CIDS; c++) {
            struct dtls13 state = make(aead, cids[c].in, cids[c].out);
            struct dtls13 peer = mirror(&state);
            for (uint64_t epoch = 4; epoch < 10; epoch++) {
                size_t late = seal(&peer, DTLS13_APPLICATION, "late", 4, sealed);
                CU_ASSERT_EQUAL(pass(&peer, &state), DTLS13_DATA);
                struct dtls13 hasty = peer;
                CU_ASSERT_EQUAL(dtls13_update_out(&hasty), SAGATE_OK);
                CU_ASSERT_EQUAL(pass(&hasty, &state), DTLS13_OTHER_EPOCH); // it was not announced
                state.flags |= DTLS13_UPDATE_IN;
                size_t n = seal(&hasty, DTLS13_APPLICATION, "hello", 5, forged);
                forged[n - 1] ^= 1;
                CU_ASSERT_EQUAL(open_datagram(&state, forged, n, out, &opened), DTLS13_FORGED); // switches nothing
                CU_ASSERT_EQUAL(state.newest >> 48, epoch - 1);
                CU_ASSERT_EQUAL(pass(&peer, &state), DTLS13_DATA);
                CU_ASSERT_EQUAL(dtls13_update_out(&peer), SAGATE_OK);
                CU_ASSERT_EQUAL(peer.next_out, epoch << 48);
                CU_ASSERT_EQUAL(pass(&peer, &state), DTLS13_DATA);
                CU_ASSERT_TRUE(state.newest == epoch << 48 && state.window == 1 && state.failed == 0);
                CU_ASSERT_EQUAL(state.flags, 0);
                CU_ASSERT_TRUE(dtls13_is_sane(&state));
                CU_ASSERT_EQUAL(open_datagram(&state, sealed, late, out, &opened), DTLS13_OTHER_EPOCH);
                CU_ASSERT_EQUAL(pass(&state, &peer), DTLS13_DATA); // the other way is as it was
            }
        }
    }
}

static void limits_are_kept(void)
{
    static uint8_t sealed[RECORD];
    static uint8_t out[RECORD];
    struct dtls13_opened opened;
    for (enum aead aead = 1; aead < AEAD_COUNT; aead++) {
        struct dtls13 state = make(aead, 0, 0);
        uint64_t limit = aead_properties(aead)->seal_limit;
        size_t n;
        if (limit > (1ULL << 48) - 1)
            limit = (1ULL << 48) - 1;
        state.next_out += limit - limit / 8 - 1;
        CU_ASSERT_FALSE(dtls13_update_is_due(&state));
        state.next_out++;
        CU_ASSERT_TRUE(dtls13_update_is_due(&state));
        state.next_out = (3ULL << 48) + limit - DTLS13_RESERVE;
        CU_ASSERT_EQUAL(dtls13_seal(&state, 23, sealed, 1, out, RECORD, &n), SAGATE_EGONE);
        for (int i = 0; i < DTLS13_RESERVE; i++)
            CU_ASSERT_EQUAL(dtls13_seal(&state, 21, sealed, 2, out, RECORD, &n), SAGATE_OK);
        CU_ASSERT_EQUAL(dtls13_seal(&state, 21, sealed, 2, out, RECORD, &n), SAGATE_EGONE);
        CU_ASSERT_EQUAL(dtls13_update_out(&state), SAGATE_OK);
        CU_ASSERT_EQUAL(dtls13_seal(&state, 23, sealed, 1, out, RECORD, &n), SAGATE_OK);
        state.next_out |= 0xffffULL << 48;
        CU_ASSERT_EQUAL(dtls13_update_out(&state), SAGATE_EGONE); // no epoch is left

        uint64_t forgeries = aead_properties(aead)->forgery_limit;
        struct dtls13 peer = make(aead, 0, 0);
        struct dtls13 sender = mirror(&peer);
        peer.failed = (uint32_t)((forgeries < UINT32_MAX ? forgeries : UINT32_MAX) - 2);
        n = seal(&sender, DTLS13_APPLICATION, "hello", 5, sealed);
        sealed[n - 1] ^= 1;
        CU_ASSERT_EQUAL(open_datagram(&peer, sealed, n, out, &opened), DTLS13_FORGED);
        CU_ASSERT_EQUAL(open_datagram(&peer, sealed, n, out, &opened), DTLS13_EXHAUSTED);
        CU_ASSERT_EQUAL(open_datagram(&peer, sealed, n, out, &opened), DTLS13_EXHAUSTED);
    }
}

static void contents_have_their_verdicts(void)
{
    static const struct {
        uint8_t type;
        const char *content;
        size_t len;
        enum dtls13_verdict verdict;
    } cases[] = {
        {23, "", 0, DTLS13_DATA},          {23, "x", 1, DTLS13_DATA},       {21, "\1\0", 2, DTLS13_CLOSED},
        {21, "\2\0", 2, DTLS13_CLOSED},    {21, "\2\120", 2, DTLS13_FATAL}, {21, "\1\120", 2, DTLS13_FATAL},
        {21, "\1\132", 2, DTLS13_WARNING}, {21, "\2", 1, DTLS13_UNWANTED},  {21, "\2\120\2", 3, DTLS13_UNWANTED},
        {22, "\1", 1, DTLS13_MESSAGE},     {26, "\0\0", 2, DTLS13_ACKED},   {20, "\1", 1, DTLS13_UNWANTED},
        {24, "x", 1, DTLS13_UNWANTED},     {0, "", 0, DTLS13_UNWANTED},     {0, "\0\0\0", 3, DTLS13_UNWANTED},
    };
    struct dtls13 state = make(AEAD_AES_128_GCM, 0, 0);
    struct dtls13 peer = mirror(&state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static uint8_t sealed[RECORD];
        static uint8_t out[RECORD];
        struct dtls13_opened opened;
        size_t n = seal(&peer, cases[i].type, cases[i].content, cases[i].len, sealed);
        CU_ASSERT_EQUAL(open_datagram(&state, sealed, n, out, &opened), (int)cases[i].verdict);
        bool gives =
            cases[i].verdict == DTLS13_DATA || cases[i].verdict == DTLS13_MESSAGE || cases[i].verdict == DTLS13_ACKED;
        CU_ASSERT_EQUAL(opened.len, gives ? cases[i].len : 0);
    }
}

static void nonsense_is_no_state(void)
{
    struct dtls13 state = {0};
    uint8_t secret[48] = {0};
    static const uint8_t long_cid[17] = {0};
    CU_ASSERT_FALSE(dtls13_is_sane(&state));
    CU_ASSERT_EQUAL(dtls13_init(&state, AEAD_NONE, 3, secret, secret, cid(0), cid(0)), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(dtls13_init(&state, AEAD_COUNT, 3, secret, secret, cid(0), cid(0)), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(dtls13_init(&state, AEAD_AES_128_GCM, 3, secret, secret, slice_of(long_cid, 17), cid(0)),
                    SAGATE_EINVAL);
    CU_ASSERT_EQUAL(dtls13_init(&state, AEAD_AES_128_GCM, 3, secret, secret, cid(0), slice_of(long_cid, 17)),
                    SAGATE_EINVAL);
    state = make(AEAD_AES_256_GCM, 8, 0);
    dtls13_change(&state);
    CU_ASSERT_FALSE(dtls13_is_sane(&state));
}

static void connection_id_is_replaced_where_there_is_room(void)
{
    struct dtls13 state = make(AEAD_AES_128_GCM, 8, 3);
    struct dtls13 peer = mirror(&state);
    CU_ASSERT_TRUE(dtls13_set_cid_out(&state, cid(16)));
    CU_ASSERT_TRUE(slice_equal(dtls13_cid_out(&state), cid(16)) && slice_equal(dtls13_cid_in(&state), cid(8)));
    CU_ASSERT_EQUAL(pass(&peer, &state), DTLS13_DATA);
    CU_ASSERT_EQUAL(state.flags, 0);
    state = make(AEAD_AES_256_GCM, 4, 4); // all of its 256 bytes are in use
    CU_ASSERT_FALSE(dtls13_set_cid_out(&state, cid(5)));
    CU_ASSERT_TRUE(dtls13_set_cid_out(&state, cid(2)));
    state = make(AEAD_AES_256_GCM, 8, 4);
    CU_ASSERT_TRUE(dtls13_set_cid_out(&state, cid(16)));
    CU_ASSERT_FALSE(dtls13_set_cid_out(&state, cid(0)));
}

static const struct unit_test tests[] = {
    {"known answers", known_answers},
    {"every form of header is read", every_form_of_header_is_read},
    {"records pass whatever their length", records_pass_whatever_their_length},
    {"order matters only beyond the window", order_matters_only_beyond_the_window},
    {"what is not authentic changes nothing", what_is_not_authentic_changes_nothing},
    {"foreign Connection IDs cost no decryption", foreign_connection_ids_cost_no_decryption},
    {"epochs that are not now are told apart", epochs_that_are_not_now_are_told_apart},
    {"too short for the mask is dropped", too_short_for_the_mask_is_dropped},
    {"keys follow the peer", keys_follow_the_peer},
    {"limits are kept", limits_are_kept},
    {"contents have their verdicts", contents_have_their_verdicts},
    {"nonsense is no state", nonsense_is_no_state},
    {"Connection ID is replaced where there is room", connection_id_is_replaced_where_there_is_room},
};

UNIT_MAIN("dtls13", tests)
