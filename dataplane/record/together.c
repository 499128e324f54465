// Records of many associations that are worked on together, whatever their version.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/together.h"

#include "common/error.h"

static bool prepare12(struct record_opening *opening, const struct engine *engine, const struct dtls12 *state,
                      struct slice datagram, uint8_t *out, size_t cap)
{
    struct dtls12_record record;
    return engine_takes(engine, state->aead) && dtls12_next(state, &datagram, &record) == SAGATE_OK &&
           dtls12_open_prepare(state, &record, out, cap, &opening->dtls12) == DTLS12_DATA;
}

static bool prepare13(struct record_opening *opening, const struct engine *engine, const struct dtls13 *state,
                      struct slice datagram, uint8_t *out, size_t cap)
{
    struct dtls13_record record;
    return engine_takes(engine, state->aead) && dtls13_next(state->cid_in_len, &datagram, &record) == SAGATE_OK &&
           dtls13_open_prepare(state, &record, out, cap, &opening->dtls13) == DTLS13_DATA;
}

bool record_opening_prepare(struct record_opening *opening, const struct engine *engine, enum record_kind kind,
                            const void *keys, struct slice datagram, uint8_t *out, size_t cap)
{
    opening->kind = (uint8_t)kind;
    if (kind == RECORD_DTLS12)
        return prepare12(opening, engine, keys, datagram, out, cap);
    return kind == RECORD_DTLS13 && prepare13(opening, engine, keys, datagram, out, cap);
}

struct aead_job *record_opening_job(struct record_opening *opening)
{
    return opening->kind == RECORD_DTLS13 ? &opening->dtls13.aead : &opening->dtls12.aead;
}

struct aead_job *record_sealing_job(struct record_sealing *sealing)
{
    return sealing->kind == RECORD_DTLS13 ? &sealing->dtls13.aead : &sealing->dtls12.aead;
}

bool record_sealing_finish(struct record_sealing *sealing)
{
    if (sealing->kind == RECORD_DTLS13)
        return dtls13_seal_finish(&sealing->dtls13, sealing->bytes);
    return sealing->dtls12.aead.result == SAGATE_OK;
}
