// Principals: small reference-counted objects.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/principal.h"

#include "common/error.h"

#include <stdlib.h>
#include <string.h>

const char *framework_name(enum framework framework)
{
    static const char *const names[] = {"none", "psk", "certificate", "maf", "gba"};
    return (size_t)framework < sizeof names / sizeof *names ? names[framework] : "none";
}

bool framework_has_key(enum framework framework)
{
    return framework == FRAMEWORK_PSK || framework == FRAMEWORK_MAF || framework == FRAMEWORK_GBA;
}

struct principal *principal_new(enum framework framework, struct slice credential_id, struct slice cse_id)
{
    struct principal *principal = calloc(1, sizeof *principal);
    if (principal == NULL)
        return NULL;
    principal->references = 1;
    principal->framework = framework;
    principal->credential_id = slice_copy(credential_id);
    if (cse_id.len > 0)
        principal->cse_id = slice_copy(cse_id);
    if (principal->credential_id == NULL || (cse_id.len > 0 && principal->cse_id == NULL)) {
        principal_release(principal);
        return NULL;
    }
    return principal;
}

// An empty upstream finds what is configured.
static size_t find_ae(const struct principal *principal, struct slice stem, struct slice upstream)
{
    size_t i = 0;
    while (i < principal->ae_count &&
           (!slice_is(stem, principal->aes[i].stem) || !slice_equal(upstream, slice_text(principal->aes[i].upstream))))
        i++;
    return i;
}

static void free_ae(struct principal_ae *ae)
{
    free(ae->stem);
    free(ae->upstream);
}

int principal_add_ae(struct principal *principal, struct slice stem, struct slice upstream)
{
    if (find_ae(principal, stem, slice_text("")) < principal->ae_count ||
        find_ae(principal, stem, upstream) < principal->ae_count)
        return SAGATE_EEXISTS;
    if (principal->ae_count >= PRINCIPAL_AES_MAX)
        return SAGATE_ELIMIT;
    struct principal_ae *grown = realloc(principal->aes, (principal->ae_count + 1) * sizeof *grown);
    if (grown == NULL)
        return SAGATE_ENOMEM;
    principal->aes = grown;
    struct principal_ae ae = {.stem = slice_copy(stem), .upstream = upstream.len > 0 ? slice_copy(upstream) : NULL};
    if (ae.stem == NULL || (upstream.len > 0 && ae.upstream == NULL)) {
        free_ae(&ae);
        return SAGATE_ENOMEM;
    }
    principal->aes[principal->ae_count++] = ae;
    return SAGATE_OK;
}

int principal_remove_ae(struct principal *principal, struct slice stem, struct slice upstream)
{
    size_t i = find_ae(principal, stem, upstream);
    if (i == principal->ae_count || principal->aes[i].upstream == NULL)
        return SAGATE_ENOTFOUND;
    free_ae(&principal->aes[i]);
    principal->aes[i] = principal->aes[--principal->ae_count];
    return SAGATE_OK;
}

void principal_replace(struct principal *principal, struct principal *other)
{
    struct principal old = *principal;
    principal->framework = other->framework;
    principal->cse_id = other->cse_id;
    principal->ae_count = other->ae_count;
    principal->aes = other->aes;
    principal->expires_at = other->expires_at;
    other->cse_id = old.cse_id;
    other->ae_count = old.ae_count;
    other->aes = old.aes;
}

struct principal *principal_reference(struct principal *principal)
{
    principal->references++;
    return principal;
}

void principal_release(struct principal *principal)
{
    if (principal == NULL || --principal->references > 0)
        return;
    for (size_t i = 0; i < principal->ae_count; i++)
        free_ae(&principal->aes[i]);
    free(principal->aes);
    free(principal->cse_id);
    free(principal->credential_id);
    free(principal);
}
