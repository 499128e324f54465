// What both planes use: secrets, random bytes, hashes, addresses, principals, plane messages.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/address.h"
#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/plane.h"
#include "common/random.h"
#include "common/secret.h"
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void secrets_are_reused_zeroed(void)
{
    uint8_t *first = secret_alloc(32);
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    memset(first, 0xa5, 32);
    secret_free(first);
    uint8_t *second = secret_alloc(32);
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    for (size_t i = 0; i < 32; i++)
        CU_ASSERT_EQUAL(second[i], 0);
    secret_free(second);
    uint8_t *large = secret_alloc(70000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    large[69999] = 1;
    secret_free(large);
    CU_ASSERT_PTR_NULL(secret_alloc(0));
    CU_ASSERT_TRUE(secret_equal("abc", "abc", 3));
    CU_ASSERT_FALSE(secret_equal("abc", "abd", 3));
}

enum { RANDOM_PART = 16, RANDOM_PARTS = 4096 };

static int compare_parts(const void *a, const void *b)
{
    return memcmp(a, b, RANDOM_PART);
}

static void random_bytes_do_not_come_twice(void)
{
    static uint8_t parts[RANDOM_PARTS][RANDOM_PART];
    static const size_t steps[] = {1, 3, 16, 32, 48, 511, 512, 513, 4000, 5000};
    uint8_t *at = parts[0];
    size_t left = sizeof parts;
    for (size_t i = 0; left > 0; i++) {
        size_t len = steps[i % (sizeof steps / sizeof *steps)];
        len = len < left ? len : left;
        CU_ASSERT_TRUE_FATAL(random_bytes(at, len));
        at += len;
        left -= len;
    }
    qsort(parts, RANDOM_PARTS, RANDOM_PART, compare_parts);
    size_t same = 0;
    for (size_t i = 0; i + 1 < RANDOM_PARTS; i++)
        same += memcmp(parts[i], parts[i + 1], RANDOM_PART) == 0 ? 1 : 0;
    CU_ASSERT_EQUAL(same, 0);
    CU_ASSERT_EQUAL(sagate_random_block(parts[0], RANDOM_PART), 0);
    CU_ASSERT_EQUAL(sagate_random_block(parts[1], RANDOM_PART), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(parts[0], parts[1], RANDOM_PART), 0);
}

// What was drawn ahead is not for both.
static void random_bytes_of_a_child_are_its_own(void)
{
    static const uint8_t zero[RANDOM_PART];
    uint8_t mine[RANDOM_PART], theirs[RANDOM_PART];
    int ends[2];
    CU_ASSERT_TRUE(random_bytes(mine, 1));
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        bool good = random_bytes(theirs, sizeof theirs) && write(ends[1], theirs, sizeof theirs) == sizeof theirs;
        _exit(good ? 0 : 1);
    }
    CU_ASSERT_FATAL(child > 0);
    CU_ASSERT_EQUAL(read(ends[0], theirs, sizeof theirs), RANDOM_PART);
    CU_ASSERT_TRUE(random_bytes(mine, sizeof mine));
    CU_ASSERT_NOT_EQUAL(memcmp(mine, theirs, sizeof mine), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(theirs, zero, sizeof theirs), 0);
    CU_ASSERT_EQUAL(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
}

static void *draw_in_thread(void *out)
{
    return random_bytes(out, RANDOM_PART) ? out : NULL;
}

static void random_bytes_of_a_thread_are_its_own(void)
{
    uint8_t mine[RANDOM_PART], theirs[RANDOM_PART];
    pthread_t thread;
    void *result = NULL;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, draw_in_thread, theirs), 0);
    CU_ASSERT_TRUE(random_bytes(mine, sizeof mine));
    CU_ASSERT_EQUAL(pthread_join(thread, &result), 0);
    CU_ASSERT_PTR_EQUAL(result, theirs);
    CU_ASSERT_NOT_EQUAL(memcmp(mine, theirs, sizeof mine), 0);
}

static void hash_is_siphash_1_3(void)
{
    // Vector of the reference implementation for SipHash-1-3: key 00..0f, empty input.
    const struct hash_key key = {.k0 = 0x0706050403020100ULL, .k1 = 0x0f0e0d0c0b0a0908ULL};
    CU_ASSERT_EQUAL(hash_bytes(&key, "", 0), 0xabac0158050fc4dcULL);
    CU_ASSERT_NOT_EQUAL(hash_stable("a", 1, 1), hash_stable("a", 1, 2));
}

static void addresses_round_trip(void)
{
    struct address address;
    char text[ADDRESS_TEXT_MAX];
    static const char *const good[] = {"127.0.0.1:5683", "[::1]:5684", "[fd00::1:2]:65535"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CU_ASSERT_EQUAL(address_parse_pair(good[i], &address), SAGATE_OK);
        CU_ASSERT_STRING_EQUAL(address_format(&address, text), good[i]);
    }
    static const char *const bad[] = {"",
                                      ":",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:0",
                                      "127.0.0.1:65536",
                                      "::1:5684",
                                      "localhost:80",
                                      "127.0.0.1:+80",
                                      "127.0.0.1: 80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(address_parse_pair(bad[i], &address), SAGATE_EINVAL);
}

static void plane_message_passes_a_socket(void)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    int fds[2];
    int passed = -1;
    struct plane_message got;
    CU_ASSERT_EQUAL_FATAL(plane_pair(fds), SAGATE_OK);
    struct plane_message sent = {.type = PLANE_RESOLVED,
                                 .resolved = {.identity = slice_text("dev@sp.example"),
                                              .key = slice_text("0123456789abcdef"),
                                              .cache_seconds = 7}};
    CU_ASSERT_EQUAL(plane_send(fds[0], &sent, STDIN_FILENO), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(plane_receive(fds[1], buffer, &got, &passed), SAGATE_OK);
    CU_ASSERT_TRUE(passed >= 0);
    close(passed);
    CU_ASSERT_EQUAL(got.type, PLANE_RESOLVED);
    CU_ASSERT_TRUE(slice_is(got.resolved.identity, "dev@sp.example"));
    CU_ASSERT_EQUAL(got.resolved.cache_seconds, 7);
    CU_ASSERT_EQUAL(plane_receive(fds[1], buffer, &got, &passed), SAGATE_AGAIN);
    close(fds[0]);
    CU_ASSERT_EQUAL(plane_receive(fds[1], buffer, &got, &passed), SAGATE_EGONE);
    close(fds[1]);
}

static void plane_message_must_fit_exactly(void)
{
    uint8_t bytes[256];
    struct plane_message message = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text("dev@sp.example")}};
    int len = plane_encode(&message, bytes, sizeof bytes);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)len, &message), SAGATE_OK);
    for (size_t i = 0; i < (size_t)len; i++)
        CU_ASSERT_EQUAL(plane_decode(bytes, i, &message), SAGATE_EMALFORMED);
    bytes[0] = 99;
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)len, &message), SAGATE_EVERSION);
}

// Every field of what concerns the store and upgrades arrives.
static void upgrade_messages_travel(void)
{
    uint8_t bytes[512];
    struct plane_message got;
    struct plane_message sent = {.type = PLANE_STORE, .store = {.worker = 63}};
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)plane_encode(&sent, bytes, sizeof bytes), &got), SAGATE_OK);
    CU_ASSERT_EQUAL(got.store.worker, 63);
    sent = (struct plane_message){.type = PLANE_QUIT, .quit = {.keep = 1}};
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)plane_encode(&sent, bytes, sizeof bytes), &got), SAGATE_OK);
    CU_ASSERT_EQUAL(got.quit.keep, 1);
    sent = (struct plane_message){
        .type = PLANE_UPGRADE, .upgrade = {.ticket = 1ULL << 40, .force = 1, .path = slice_text("/usr/sbin/sagate")}};
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)plane_encode(&sent, bytes, sizeof bytes), &got), SAGATE_OK);
    CU_ASSERT_EQUAL(got.upgrade.ticket, 1ULL << 40);
    CU_ASSERT_EQUAL(got.upgrade.force, 1);
    CU_ASSERT_TRUE(slice_is(got.upgrade.path, "/usr/sbin/sagate"));
    sent = (struct plane_message){.type = PLANE_UPGRADE_RESULT,
                                  .upgrade_result = {.ticket = 2,
                                                     .result = SAGATE_EVERSION,
                                                     .text = slice_text("no"),
                                                     .version = slice_text("1.2"),
                                                     .resumed = 1ULL << 33,
                                                     .lost = 4}};
    CU_ASSERT_EQUAL(plane_decode(bytes, (size_t)plane_encode(&sent, bytes, sizeof bytes), &got), SAGATE_OK);
    CU_ASSERT_EQUAL(got.upgrade_result.ticket, 2);
    CU_ASSERT_EQUAL(got.upgrade_result.result, SAGATE_EVERSION);
    CU_ASSERT_TRUE(slice_is(got.upgrade_result.text, "no"));
    CU_ASSERT_TRUE(slice_is(got.upgrade_result.version, "1.2"));
    CU_ASSERT_EQUAL(got.upgrade_result.resumed, 1ULL << 33);
    CU_ASSERT_EQUAL(got.upgrade_result.lost, 4);
}

static void principals_travel(void)
{
    uint8_t bytes[1024];
    struct principal *principal = principal_new(FRAMEWORK_PSK, slice_text("12-dev@sp.example"), slice_text(""));
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text("C*"), slice_text("")), SAGATE_OK);
    CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text("C*"), slice_text("in")), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text("Cdev1"), slice_text("in")), SAGATE_OK);
    CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text("Cdev1"), slice_text("in")), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(principal_add_ae(principal, slice_text("Cdev1"), slice_text("in2")), SAGATE_OK);
    int len = plane_pack_principal(principal, bytes, sizeof bytes);
    CU_ASSERT_TRUE_FATAL(len > 0);
    struct principal *copy = plane_unpack_principal(slice_of(bytes, (size_t)len));
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_STRING_EQUAL(copy->credential_id, "12-dev@sp.example");
    CU_ASSERT_PTR_NULL(copy->cse_id);
    CU_ASSERT_EQUAL_FATAL(copy->ae_count, 3);
    CU_ASSERT_PTR_NULL(copy->aes[0].upstream);
    CU_ASSERT_STRING_EQUAL(copy->aes[1].upstream, "in");
    CU_ASSERT_STRING_EQUAL(copy->aes[2].upstream, "in2");
    CU_ASSERT_EQUAL(principal_remove_ae(copy, slice_text("C*"), slice_text("")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(principal_remove_ae(copy, slice_text("C*"), slice_text("in")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(principal_remove_ae(copy, slice_text("Cdev1"), slice_text("")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(principal_remove_ae(copy, slice_text("Cdev1"), slice_text("in")), SAGATE_OK);
    CU_ASSERT_EQUAL(principal_remove_ae(copy, slice_text("Cdev1"), slice_text("in")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(copy->ae_count, 2);
    CU_ASSERT_STRING_EQUAL(copy->aes[1].upstream, "in2");
    principal_release(copy);
    principal_release(principal);
    CU_ASSERT_PTR_NULL(plane_unpack_principal(slice_of(bytes, (size_t)len - 1)));
}

static void files_are_read_whole(void)
{
    char bytes[8] = "";
    int fd = memfd_create("file", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(file_read(fd, bytes, sizeof bytes), 0);
    CU_ASSERT_EQUAL(write(fd, "sagate", 6), 6); // the descriptor stands at the end now
    CU_ASSERT_EQUAL(file_read(fd, bytes, sizeof bytes), 6);
    CU_ASSERT_EQUAL(memcmp(bytes, "sagate", 6), 0);
    CU_ASSERT_EQUAL(file_read(fd, bytes, 6), 6);
    CU_ASSERT_EQUAL(file_read(fd, bytes, 5), SAGATE_ETOOBIG);
    close(fd);
    CU_ASSERT_EQUAL(file_read(fd, bytes, sizeof bytes), SAGATE_ESYS);
}

static void slices_are_copied(void)
{
    char *copy = slice_copy(slice_of("abc", 2));
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_STRING_EQUAL(copy, "ab");
    free(copy);
    copy = slice_copy(slice_of(NULL, 0));
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    CU_ASSERT_STRING_EQUAL(copy, "");
    free(copy);
}

static const struct unit_test tests[] = {
    {"files are read whole", files_are_read_whole},
    {"slices are copied", slices_are_copied},
    {"secrets are reused zeroed", secrets_are_reused_zeroed},
    {"random bytes do not come twice", random_bytes_do_not_come_twice},
    {"random bytes of a child are its own", random_bytes_of_a_child_are_its_own},
    {"random bytes of a thread are its own", random_bytes_of_a_thread_are_its_own},
    {"hash is SipHash-1-3", hash_is_siphash_1_3},
    {"addresses round trip", addresses_round_trip},
    {"plane message passes a socket", plane_message_passes_a_socket},
    {"plane message must fit exactly", plane_message_must_fit_exactly},
    {"messages of upgrades travel", upgrade_messages_travel},
    {"principals travel", principals_travel},
};

UNIT_MAIN("common", tests)
