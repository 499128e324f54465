// Fuzz target: whom a certificate names. A first byte of zero: what follows is an absolute AE-ID, else it is all a
// certificate.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/onem2m.h"
#include "dataplane/handshake/certificate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct config_upstream upstreams[] = {
    {.name = (char[]){"in"}, .sp_id = (char[]){"//sp.example"}, .cse_id = (char[]){"/id-in"}},
    {.name = (char[]){"two"}, .sp_id = (char[]){"//sp.example"}, .cse_id = (char[]){"/id-two"}},
    {.name = (char[]){"far"}, .sp_id = (char[]){"//far.example"}, .cse_id = (char[]){"/id-in"}}};

// Nobody may get a pattern, a wish or a part of an address as identity.
static void check(const struct principal *principal)
{
    for (size_t i = 0; i < principal->ae_count; i++) {
        const char *stem = principal->aes[i].stem;
        if (strpbrk(stem, "*/") != NULL || strlen(stem) < 2 || (stem[0] != 'C' && stem[0] != 'S'))
            abort();
    }
    if (principal->cse_id != NULL && (principal->ae_count > 0 || principal->cse_id[0] != '/' ||
                                      strpbrk(principal->cse_id + 1, "*/.") != NULL || principal->cse_id[1] == '\0'))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    for (size_t count = 1; count <= 3; count++) {
        const struct config config = {.upstream_count = count, .upstreams = upstreams};
        struct principal *principal = NULL;
        if (len > 0 && data[0] == 0) {
            principal = principal_new(FRAMEWORK_CERTIFICATE, slice_text("33-x"), (struct slice){0});
            if (principal != NULL)
                (void)certificate_add_ae(&config, slice_of(data + 1, len - 1), principal);
        } else {
            (void)certificate_principal(&config, slice_of(data, len), &principal);
        }
        if (principal != NULL)
            check(principal);
        principal_release(principal);
    }
    return 0;
}
