// Keys in PKCS#11 tokens, through p11-kit: the one object that a URI names, read while its module is loaded.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/keystore/keystore_pkcs11.h"

#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_MAX = 64, PIN_MAX = 128, ATTRIBUTES_MAX = 8 };

static int fail(char why[KEYSTORE_ERROR_MAX], int result, const char *text)
{
    (void)snprintf(why, KEYSTORE_ERROR_MAX, "%s", text);
    return result;
}

static int fail_token(char why[KEYSTORE_ERROR_MAX], int result, const char *what, CK_RV code)
{
    (void)snprintf(why, KEYSTORE_ERROR_MAX, "%s: %s", what, p11_kit_strerror(code));
    return result;
}

static P11KitUri *parse(const char *reference, char why[KEYSTORE_ERROR_MAX])
{
    P11KitUri *uri = p11_kit_uri_new();
    CK_ULONG count = 0;
    if (uri == NULL || p11_kit_uri_parse(reference, P11_KIT_URI_FOR_ANY, uri) != P11_KIT_URI_OK) {
        // The URI may hold a PIN, so it is not repeated.
        (void)fail(why, SAGATE_EINVAL, "the PKCS#11 URI is malformed (RFC 7512)");
    } else if (p11_kit_uri_any_unrecognized(uri) != 0) {
        (void)fail(why, SAGATE_EINVAL, "the PKCS#11 URI has an attribute that is not known");
    } else {
        (void)p11_kit_uri_get_attributes(uri, &count);
        if (count > 0 && count < ATTRIBUTES_MAX)
            return uri;
        (void)fail(why, SAGATE_EINVAL, "the PKCS#11 URI names no object; expected object=… or id=… in it");
    }
    if (uri != NULL)
        p11_kit_uri_free(uri);
    return NULL;
}

int keystore_pkcs11_check(const char *reference, char why[KEYSTORE_ERROR_MAX])
{
    P11KitUri *uri = parse(reference, why);
    if (uri == NULL)
        return SAGATE_EINVAL;
    p11_kit_uri_free(uri);
    return SAGATE_OK;
}

// The PIN of the URI, by value or from a file, into `pin`; 0 bytes: none is given.
static int read_pin(P11KitUri *uri, char *pin, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    static const char scheme[] = "file:";
    const char *value = p11_kit_uri_get_pin_value(uri);
    const char *source = p11_kit_uri_get_pin_source(uri);
    *len = 0;
    if (value != NULL) {
        *len = strlen(value);
        if (*len > PIN_MAX)
            return fail(why, SAGATE_EINVAL, "the PIN is longer than 128 bytes");
        memcpy(pin, value, *len);
    } else if (source != NULL) {
        const char *path = strncmp(source, scheme, sizeof scheme - 1) == 0 ? source + sizeof scheme - 1 : source;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t got = fd < 0 ? -1 : file_read(fd, pin, PIN_MAX);
        int error = errno;
        if (fd >= 0)
            (void)close(fd);
        if (got < 0) {
            (void)snprintf(why, KEYSTORE_ERROR_MAX, "the file with the PIN cannot be read: %s", strerror(error));
            return SAGATE_EPERM;
        }
        while (got > 0 && (pin[got - 1] == '\n' || pin[got - 1] == '\r'))
            got--;
        *len = (size_t)got;
    }
    return SAGATE_OK;
}

static int take_value(CK_FUNCTION_LIST *module, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, uint8_t **key,
                      size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    uint8_t *bytes = secret_alloc(KEYSTORE_KEY_MAX);
    if (bytes == NULL)
        return fail(why, SAGATE_ENOMEM, sagate_strerror(SAGATE_ENOMEM));
    CK_ATTRIBUTE value = {CKA_VALUE, bytes, KEYSTORE_KEY_MAX};
    CK_RV code = module->C_GetAttributeValue(session, object, &value, 1);
    int result = SAGATE_OK;
    if (code == CKR_ATTRIBUTE_SENSITIVE || code == CKR_ATTRIBUTE_TYPE_INVALID)
        result =
            fail(why, SAGATE_EUNSUPPORTED,
                 "the token does not give the key out (sensitive, or not extractable), which TLS with a pre-shared "
                 "key needs");
    else if (code == CKR_BUFFER_TOO_SMALL ||
             (code == CKR_OK && (value.ulValueLen == 0 || value.ulValueLen > KEYSTORE_KEY_MAX)))
        result = fail(why, SAGATE_EINVAL, "the key in the token has no length from 1 to 64 bytes");
    else if (code != CKR_OK)
        result = fail_token(why, SAGATE_ESYS, "the key in the token cannot be read", code);
    if (result != SAGATE_OK) {
        secret_free(bytes);
        return result;
    }
    *key = bytes;
    *len = value.ulValueLen;
    return SAGATE_OK;
}

// The one object with the attributes of the URI.
static int find(CK_FUNCTION_LIST *module, CK_SESSION_HANDLE session, P11KitUri *uri, CK_OBJECT_HANDLE *object,
                char why[KEYSTORE_ERROR_MAX])
{
    CK_ULONG count = 0;
    CK_ATTRIBUTE *wanted = p11_kit_uri_get_attributes(uri, &count);
    CK_OBJECT_HANDLE found[2];
    CK_ULONG number = 0;
    CK_RV code = module->C_FindObjectsInit(session, wanted, count);
    if (code == CKR_OK) {
        code = module->C_FindObjects(session, found, 2, &number);
        (void)module->C_FindObjectsFinal(session);
    }
    if (code != CKR_OK)
        return fail_token(why, SAGATE_ESYS, "the token cannot be searched", code);
    if (number == 0)
        return fail(why, SAGATE_ENOTFOUND, "there is no such key in the token, or it is not shown without a PIN");
    if (number > 1)
        return fail(why, SAGATE_EINVAL, "the PKCS#11 URI fits several objects; add type=secret-key, id=… or object=…");
    *object = found[0];
    return SAGATE_OK;
}

static int read_in_slot(CK_FUNCTION_LIST *module, CK_SLOT_ID slot, P11KitUri *uri, uint8_t **key, size_t *len,
                        char why[KEYSTORE_ERROR_MAX])
{
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    size_t pin_len = 0;
    CK_RV code = module->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
    if (code != CKR_OK)
        return fail_token(why, SAGATE_ESYS, "the token cannot be opened", code);
    char *pin = secret_alloc(PIN_MAX);
    int result =
        pin == NULL ? fail(why, SAGATE_ENOMEM, sagate_strerror(SAGATE_ENOMEM)) : read_pin(uri, pin, &pin_len, why);
    if (result == SAGATE_OK && pin_len > 0) {
        code = module->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, pin_len);
        if (code != CKR_OK && code != CKR_USER_ALREADY_LOGGED_IN)
            result = fail_token(why, SAGATE_EPERM, "the token does not take the PIN", code);
    }
    secret_free(pin);
    if (result == SAGATE_OK)
        result = find(module, session, uri, &object, why);
    if (result == SAGATE_OK)
        result = take_value(module, session, object, key, len, why);
    (void)module->C_CloseSession(session);
    return result;
}

// Looks in every token of a module that the URI fits. SAGATE_ENOTFOUND: there is none.
static int read_in_module(CK_FUNCTION_LIST *module, P11KitUri *uri, uint8_t **key, size_t *len,
                          char why[KEYSTORE_ERROR_MAX])
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    int result = fail(why, SAGATE_ENOTFOUND, "no token that is present fits the PKCS#11 URI");
    if (module->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        return result;
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO token;
        if (module->C_GetTokenInfo(slots[i], &token) != CKR_OK || p11_kit_uri_match_token_info(uri, &token) == 0)
            continue;
        result = read_in_slot(module, slots[i], uri, key, len, why);
        if (result != SAGATE_ENOTFOUND)
            break;
    }
    return result;
}

static int read_with_path(const char *path, P11KitUri *uri, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    CK_FUNCTION_LIST *module = p11_kit_module_load(path, 0);
    if (module == NULL) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "the PKCS#11 module %s cannot be loaded", path);
        return SAGATE_ENOTFOUND;
    }
    CK_RV code = p11_kit_module_initialize(module);
    int result = code == CKR_OK ? read_in_module(module, uri, key, len, why)
                                : fail_token(why, SAGATE_ESYS, "the PKCS#11 module cannot be initialised", code);
    if (code == CKR_OK)
        (void)p11_kit_module_finalize(module);
    p11_kit_module_release(module);
    return result;
}

static int read_with_registered(P11KitUri *uri, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    CK_FUNCTION_LIST **modules = p11_kit_modules_load_and_initialize(0);
    int result = fail(why, SAGATE_ENOTFOUND, "no PKCS#11 module is registered with p11-kit; module-path=… names one");
    for (size_t i = 0; modules != NULL && modules[i] != NULL && result == SAGATE_ENOTFOUND; i++)
        result = read_in_module(modules[i], uri, key, len, why);
    if (modules != NULL)
        p11_kit_modules_finalize_and_release(modules);
    return result;
}

int keystore_pkcs11_load(const char *reference, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    P11KitUri *uri = parse(reference, why);
    if (uri == NULL)
        return SAGATE_EINVAL;
    const char *path = p11_kit_uri_get_module_path(uri);
    int result = path != NULL ? read_with_path(path, uri, key, len, why) : read_with_registered(uri, key, len, why);
    p11_kit_uri_free(uri);
    return result;
}
