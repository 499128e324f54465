// Credentials: what the file may hold and who may own it, that no message shows a key, and that what is written is what
// was read.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "00112233445566778899aabbccddeeff"

static int file_of(const char *content, mode_t mode)
{
    int fd = memfd_create("credentials", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_SET), 0);
    CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
    return fd;
}

static struct credentials *good(const char *content)
{
    struct credentials *credentials = NULL;
    struct config_errors errors;
    int fd = file_of(content, 0600);
    int result = credentials_read(fd, "credentials.conf", geteuid(), &credentials, &errors);
    if (result != SAGATE_OK)
        printf("\n%s\n", errors.text);
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
    CU_ASSERT_EQUAL(errors.count, 0);
    close(fd);
    return credentials;
}

static void bad(const char *content, const char *expected)
{
    struct credentials *credentials = NULL;
    struct config_errors errors;
    int fd = file_of(content, 0600);
    CU_ASSERT_EQUAL(credentials_read(fd, "credentials.conf", geteuid(), &credentials, &errors), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NULL(credentials);
    CU_ASSERT_PTR_NOT_NULL_FATAL(errors.text);
    if (strstr(errors.text, expected) == NULL || errors.count != 1)
        printf("\nexpected: %s\nfound: %s\n", expected, errors.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, expected));
    CU_ASSERT_EQUAL(errors.count, 1);
    CU_ASSERT_PTR_NULL(strstr(errors.text, "00112233"));
    CU_ASSERT_PTR_NULL(strstr(errors.text, "secret"));
    config_errors_free(&errors);
    close(fd);
}

static const struct credential *find(const struct credentials *credentials, const char *identity)
{
    return credentials_find(credentials, slice_text(identity));
}

static void read_and_found(void)
{
    struct credentials *c =
        good("# a comment with key_hex = \"\n"
             "credentials = (\n"
             "  { identity = \"zz@sp.example\"; key_hex = \"" KEY "\"; ae_ids = [ \"Cdev1\", \"C*\" ]; },\n"
             "  { identity = \"Ger\303\244t\"; key_text /* here */ = \"sixteen \\\"bytes\\x21\\n\\\\.\"; cse_id = "
             "\"/mn1\";\n"
             "    expires = \"2030-01-01T00:00:00Z\"; },\n"
             "  { key_hex: \"" KEY KEY "\", ae_ids: ( \"S1\" ), identity: \"aa\" } );");
    CU_ASSERT_EQUAL(c->count, 3);
    CU_ASSERT_EQUAL(c->short_keys, 0);
    const struct credential *zz = find(c, "zz@sp.example"), *cse = find(c, "Ger\303\244t"), *aa = find(c, "aa");
    CU_ASSERT_PTR_NOT_NULL_FATAL(zz);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cse);
    CU_ASSERT_PTR_NOT_NULL_FATAL(aa);
    CU_ASSERT_EQUAL(zz->key_len, 16);
    CU_ASSERT_EQUAL(zz->key[1], 0x11);
    CU_ASSERT_EQUAL(zz->ae_count, 2);
    CU_ASSERT_STRING_EQUAL(zz->aes[1], "C*");
    CU_ASSERT_PTR_NULL(zz->cse_id);
    CU_ASSERT_FALSE(credential_is_expired(zz, INT64_MAX));
    CU_ASSERT_STRING_EQUAL(cse->cse_id, "/mn1");
    CU_ASSERT_EQUAL_FATAL(cse->key_len, 18);
    CU_ASSERT_EQUAL(memcmp(cse->key, "sixteen \"bytes!\n\\.", 18), 0);
    CU_ASSERT_EQUAL(cse->expires_at, 1893456000);
    CU_ASSERT_FALSE(credential_is_expired(cse, 1893455999));
    CU_ASSERT_TRUE(credential_is_expired(cse, 1893456000));
    CU_ASSERT_EQUAL(aa->key_len, 32);
    CU_ASSERT_PTR_NULL(find(c, ""));
    CU_ASSERT_PTR_NULL(find(c, "a"));
    CU_ASSERT_PTR_NULL(find(c, "aaa"));
    CU_ASSERT_PTR_NULL(credentials_find(c, slice_of("aa\0", 3)));
    credentials_free(c);
    c = good("");
    CU_ASSERT_EQUAL(c->count, 0);
    credentials_free(c);
    c = good("credentials = ( );");
    CU_ASSERT_EQUAL(c->count, 0);
    CU_ASSERT_PTR_NULL(find(c, "aa"));
    credentials_free(c);
}

static void wrong_content_is_named(void)
{
#define ONE(rest) "credentials = (\n{ identity = \"a\"; " rest " } );"
    static const char *const cases[][2] = {
        {ONE("key_hex = \"" KEY "\";"), "credentials.conf:2: setting 'credentials[0]': the credential says not who"},
        {ONE("key_hex = \"" KEY "\"; ae_ids = [ \"C*\" ]; cse_id = \"/x\";"), "has 'ae_ids' and 'cse_id'"},
        {ONE("ae_ids = [ \"C*\" ];"), "the key is missing; expected 'key_hex' or 'key_text'"},
        {ONE("key_hex = \"" KEY "\"; key_text = \"secret\"; ae_ids = [ \"C*\" ];"), "found 'key_hex' and 'key_text'"},
        {ONE("key_hex = \"" KEY "0\"; ae_ids = [ \"C*\" ];"),
         "setting 'credentials[0].key_hex': expected an even number of hexadecimal digits"},
        {ONE("key_hex = \"secret\"; ae_ids = [ \"C*\" ];"), "expected an even number"},
        {ONE("key_hex = \"00112233\"; ae_ids = [ \"C*\" ];"), "the key is shorter than 16 bytes"},
        {ONE("key_text = \"\"; ae_ids = [ \"C*\" ];"), "found a key of 0 bytes"},
        {ONE("key_text = \"secretsecretsecretsecretsecretsecretsecretsecretsecretsecretsecret\"; ae_ids = [ \"C*\" ];"),
         "found a key of more than 64 bytes"},
        {ONE("key_hex = \"" KEY "\" \"" KEY "\"; ae_ids = [ \"C*\" ];"), "expected the key as one string"},
        {ONE("key_hex = 112233445566778899; ae_ids = [ \"C*\" ];"), "found an integer, expected the key as a string"},
        {ONE("key_hex = [ \"" KEY "\" ]; ae_ids = [ \"C*\" ];"), "found a list, expected the key"},
        {ONE("key_hexx = \"secret\"; key_hex = \"" KEY "\"; ae_ids = [ \"C*\" ];"), "did you mean 'key_hex'?"},
        {ONE("key_hex = " KEY "; ae_ids = [ \"C*\" ];"), "credentials.conf:2: syntax error"},
        {ONE("key_hex = \"" KEY "; ae_ids = [ \"C*\" ];"), "the string that begins here never ends"},
        {ONE("key_hex = \"" KEY "\"; ae_ids = [ ];"), "'credentials[0].ae_ids': the list is empty"},
        {ONE("key_hex = \"" KEY "\"; ae_ids = [ \"C\" ];"), "'credentials[0].ae_ids[0]'"},
        {ONE("key_hex = \"" KEY "\"; ae_ids = [ \"dev1\" ];"), "expected an AE-ID-Stem"},
        {ONE("key_hex = \"" KEY "\"; ae_ids = [ \"C1\", \"C1\" ];"), "the same entry stands in the list already"},
        {ONE("key_hex = \"" KEY "\"; cse_id = \"mn1\";"), "'cse_id' is no SP-relative CSE-ID"},
        {ONE("key_hex = \"" KEY "\"; cse_id = \"/mn1\"; expires = \"2030-02-30T00:00:00Z\";"),
         "'credentials[0].expires': expected a time in UTC"},
        {ONE("key_hex = \"" KEY "\"; cse_id = \"/mn1\"; expires = \"tomorrow\";"), "expected a time in UTC"},
        {"credentials = ( { key_hex = \"" KEY "\"; cse_id = \"/mn1\"; } );", "'credentials[0].identity': missing"},
        {"credentials = ( { identity = \"\"; key_hex = \"" KEY "\"; cse_id = \"/mn1\"; } );",
         "expected the PSK identity"},
        {"credentials = ( { identity = \"a\\x07\"; key_hex = \"" KEY "\"; cse_id = \"/mn1\"; } );",
         "no UTF-8 text of 1 to 512"},
        {"credentials = ( { identity = \"a\\xC3\"; key_hex = \"" KEY "\"; cse_id = \"/mn1\"; } );", "no UTF-8 text"},
        {"credentials = ( { identity = \"a\\xC0\\xAF\"; key_hex = \"" KEY "\"; cse_id = \"/mn1\"; } );",
         "no UTF-8 text"},
        {"credentials = ( 5 );", "setting 'credentials[0]': found an integer, expected a group"},
        {"credentials = { };", "setting 'credentials': found a group"},
        {"credential = ( );", "unknown setting; did you mean 'credentials'?"},
        {"@include \"other\"\n", "credentials.conf:1: @include is not allowed here"},
        {"credentials = (\n{ identity = \"b\"; key_hex = \"" KEY "\"; cse_id = \"/m\"; },\n"
         "{ identity = \"a\"; key_hex = \"" KEY "\"; cse_id = \"/m\"; },\n"
         "{ identity = \"b\"; key_hex = \"" KEY "\"; cse_id = \"/m\"; } );",
         "credentials.conf:4: setting 'credentials[2].identity': the same identity stands in credentials[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bad(cases[i][0], cases[i][1]);
}

static void short_keys_by_choice(void)
{
    struct credentials *c = good("allow_short_keys = true; " ONE("key_text = \"123456\"; ae_ids = [ \"C*\" ];"));
    CU_ASSERT_EQUAL(c->short_keys, 1);
    CU_ASSERT_EQUAL(credentials_remove(c, slice_text("a")), SAGATE_OK);
    CU_ASSERT_EQUAL(c->short_keys, 0);
    credentials_free(c);
}

static void owner_and_mode(void)
{
    static const struct {
        mode_t mode;
        uid_t owner; // of the file
        int result;
        const char *expected;
    } cases[] = {
        {0600, 0, SAGATE_OK, ""},
        {0400, 12345, SAGATE_OK, ""},
        {0640, 0, SAGATE_EPERM, "credentials.conf: the mode 0640 lets group or others"},
        {0602, 0, SAGATE_EPERM, "chmod 600 credentials.conf"},
        {0600, 54321, SAGATE_EPERM, "belongs to user 54321, expected root or user 12345: chown 12345 credentials.conf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct credentials *credentials = NULL;
        struct config_errors errors;
        int fd = file_of("", cases[i].mode);
        // Only root can give a file away; others see less here.
        if (cases[i].owner == geteuid() || fchown(fd, cases[i].owner, (gid_t)-1) == 0) {
            CU_ASSERT_EQUAL(credentials_read(fd, "credentials.conf", 12345, &credentials, &errors), cases[i].result);
            CU_ASSERT_PTR_NOT_NULL(strstr(errors.text == NULL ? "" : errors.text, cases[i].expected));
            config_errors_free(&errors);
        }
        credentials_free(credentials);
        close(fd);
    }
    struct credentials *credentials = NULL;
    struct config_errors errors;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL(credentials_read(fd, "/dev/null", geteuid(), &credentials, &errors), SAGATE_EPERM);
    CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, "no regular file"));
    config_errors_free(&errors);
    close(fd);
}

static void same(const struct credentials *a, const struct credentials *b)
{
    CU_ASSERT_EQUAL_FATAL(a->count, b->count);
    CU_ASSERT_EQUAL(a->allow_short_keys, b->allow_short_keys);
    CU_ASSERT_EQUAL(a->short_keys, b->short_keys);
    for (size_t i = 0; i < a->count; i++) {
        const struct credential *x = &a->entries[i], *y = &b->entries[i];
        CU_ASSERT_STRING_EQUAL(x->identity, y->identity);
        CU_ASSERT_EQUAL_FATAL(x->key_len, y->key_len);
        CU_ASSERT_TRUE(secret_equal(x->key, y->key, x->key_len));
        CU_ASSERT_EQUAL(x->expires_at, y->expires_at);
        CU_ASSERT_STRING_EQUAL(x->cse_id == NULL ? "" : x->cse_id, y->cse_id == NULL ? "" : y->cse_id);
        CU_ASSERT_EQUAL_FATAL(x->ae_count, y->ae_count);
        for (size_t k = 0; k < x->ae_count; k++)
            CU_ASSERT_STRING_EQUAL(x->aes[k], y->aes[k]);
    }
}

static void written_is_read_again(void)
{
    char folder[] = "/tmp/sagate-credentials-XXXXXX", path[64], why[CREDENTIALS_ERROR_MAX];
    uint8_t key[20] = {0, '"', '\\', '\n', 0xff};
    char *aes[] = {(char[]){"Cdev1"}, (char[]){"S*x"}};
    struct credentials *c = credentials_new(true), *again = NULL;
    struct config_errors errors;
    struct stat status;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/added.conf", folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    for (int i = 99; i >= 0; i--) {
        char identity[64];
        (void)snprintf(identity, sizeof identity, "dev%d \"\303\244\\\"@sp.example", i);
        char cse_id[] = "/mn1";
        struct credential one = {.identity = identity,
                                 .key = key,
                                 .key_len = i == 7 ? 3 : sizeof key,
                                 .cse_id = i % 2 == 0 ? cse_id : NULL,
                                 .ae_count = i % 2 == 0 ? 0 : 2,
                                 .aes = i % 2 == 0 ? NULL : aes,
                                 .expires_at = i * 1000};
        CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_OK);
        CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_EEXISTS);
    }
    CU_ASSERT_EQUAL(c->short_keys, 1);
    CU_ASSERT_EQUAL(credentials_write(path, c), SAGATE_OK);
    CU_ASSERT_EQUAL(credentials_remove(c, slice_text("dev50 \"\303\244\\\"@sp.example")), SAGATE_OK);
    CU_ASSERT_EQUAL(credentials_remove(c, slice_text("dev50 \"\303\244\\\"@sp.example")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(credentials_write(path, c), SAGATE_OK); // replaces
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(fstat(fd, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL_FATAL(credentials_read(fd, path, geteuid(), &again, &errors), SAGATE_OK);
    close(fd);
    CU_ASSERT_EQUAL(again->count, 99);
    same(c, again);
    credentials_free(again);
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_EQUAL(rmdir(folder), 0); // no temporary file was left
    CU_ASSERT_EQUAL(credentials_write(path, c), SAGATE_ESYS);
    CU_ASSERT_EQUAL(errno, ENOENT);
    credentials_free(c);
}

static void additions_are_judged(void)
{
    uint8_t key[65] = {1};
    char long_identity[600];
    char *ae[] = {(char[]){"C1"}};
    char why[CREDENTIALS_ERROR_MAX] = "";
    struct credentials *c = credentials_new(false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    struct credential one = {.identity = long_identity, .key = key, .key_len = 16, .ae_count = 1, .aes = ae};
    memset(long_identity, 'a', sizeof long_identity);
    long_identity[513] = '\0';
    CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_EINVAL);
    long_identity[512] = '\0';
    CU_ASSERT_EQUAL(credentials_check(c, &one, why), SAGATE_OK);
    CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_OK);
    CU_ASSERT_PTR_NOT_NULL(find(c, long_identity));
    one.key_len = 65;
    CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_EINVAL);
    one.key_len = 15;
    CU_ASSERT_EQUAL(credentials_add(c, &one, why), SAGATE_EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "shorter than 16 bytes"));
    CU_ASSERT_EQUAL(c->count, 1);
    credentials_free(c);
    credentials_free(NULL);
}

static void many_are_read(void)
{
    enum { MANY = 5000, LINES = 66000 };
    char *content = malloc((size_t)MANY * 100 + LINES), *at = content;
    CU_ASSERT_PTR_NOT_NULL_FATAL(content);
    // With more lines than libconfig counts, and out of order.
    memset(at, '\n', LINES);
    at += LINES;
    at += sprintf(at, "credentials = (");
    for (unsigned i = 0; i < MANY; i++)
        at += sprintf(at, "%s\n{ identity = \"d%u\"; key_hex = \"" KEY "\"; ae_ids = [ \"C%u\" ]; }", i == 0 ? "" : ",",
                      i * 7919U % MANY, i);
    (void)sprintf(at, " );");
    struct credentials *c = good(content);
    CU_ASSERT_EQUAL(c->count, MANY);
    CU_ASSERT_PTR_NOT_NULL(find(c, "d4999"));
    credentials_free(c);
    (void)sprintf(at, ", { } );");
    struct config_errors errors;
    int fd = file_of(content, 0600);
    CU_ASSERT_EQUAL(credentials_read(fd, "many.conf", geteuid(), &c, &errors), SAGATE_ECONFIG);
    // A line would be wrong, so there is none.
    CU_ASSERT_PTR_NOT_NULL(strstr(errors.text, "many.conf: setting 'credentials[5000].identity': missing"));
    config_errors_free(&errors);
    close(fd);
    free(content);
}

static const struct unit_test tests[] = {
    {"a file is read and identities are found", read_and_found},
    {"wrong content is named, keys are not", wrong_content_is_named},
    {"short keys by choice", short_keys_by_choice},
    {"owner and mode", owner_and_mode},
    {"what is written is read again", written_is_read_again},
    {"additions are judged", additions_are_judged},
    {"many are read", many_are_read},
};

// libconfig 1.5 loses the strings of a list that a syntax error cuts short.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

UNIT_MAIN("credentials", tests)
