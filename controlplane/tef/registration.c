// The client's registration at its TEF (TS-0003 8.8.2.3, .5, .6): created at the start, renewed at four fifths of its
// life, created anew when the TEF has lost it, deleted at the end.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "controlplane/tef/internal.h"

#include <string.h>

enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000 };

static void ask(struct tef_client *client, enum request_kind kind)
{
    struct registration *registration = &client->registration;
    if (client_ask(client, kind, slice_text(registration->id), NULL, NULL) == SAGATE_OK) {
        if (kind == REQUEST_REGISTER)
            registration->state = REGISTRATION_ASKED;
        return;
    }
    client_timer(registration->timer, RETRY_MIN_MS);
}

static void finished(struct tef_client *client)
{
    struct registration *registration = &client->registration;
    void (*left)(void *context) = registration->left;
    registration->left = NULL;
    (void)event_del(registration->timer);
    if (left != NULL)
        left(registration->left_context);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct tef_client *client = context;
    if (client->registration.state == REGISTRATION_LEAVING)
        finished(client);
    else
        ask(client, client->registration.id[0] == '\0' ? REQUEST_REGISTER : REQUEST_UPDATE);
}

// At 80 % of the life that is left, and up to 5 % earlier, so that not all clients come at once.
static void renew_later(struct tef_client *client)
{
    int64_t left = client->registration.expires_at - clock_wall();
    uint64_t ms = left > 0 ? (uint64_t)left * 1000 : 0;
    ms = ms > 30ULL * 86400 * 1000 ? 30ULL * 86400 * 1000 : ms;
    ms = ms / 100 * (80 - client_random(client, 6));
    client_timer(client->registration.timer, ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms);
}

static void held(struct tef_client *client, const struct request *request, const struct tef_registration *answer)
{
    struct registration *registration = &client->registration;
    if (request->kind == REQUEST_REGISTER) {
        memcpy(registration->id, answer->id, sizeof registration->id);
        log_info("%s: registered as '%s'", client->label, answer->id);
    }
    registration->state = REGISTRATION_HELD;
    registration->failures = 0;
    registration->expires_at = answer->expires_at != 0 ? answer->expires_at : request->asked_until;
    client->status.registered = true;
    client->status.registration_expires_at = registration->expires_at;
    renew_later(client);
}

static void again(struct tef_client *client)
{
    struct registration *registration = &client->registration;
    registration->failures++;
    if (registration->expires_at <= clock_wall())
        client->status.registered = false;
    client_timer(registration->timer, client_back_off(client, registration->failures, RETRY_MIN_MS, RETRY_MAX_MS));
}

void registration_done(struct tef_client *client, const struct request *request, int result,
                       const struct tef_response *response)
{
    struct registration *registration = &client->registration;
    struct tef_registration answer = {0};
    const char *why = "";
    if (registration->state == REGISTRATION_LEAVING) {
        if (request->kind == REQUEST_LEAVE)
            finished(client);
        return;
    }
    bool body = response != NULL && response->body_len > 0;
    // What the connection or the answer's form was wrong with is noted where it was found, and says more.
    bool noted = result != SAGATE_OK && result != SAGATE_ENOTFOUND;
    if (result == SAGATE_OK && (body || request->kind == REQUEST_REGISTER))
        result = tef_parse_registration(client->settings.profile,
                                        body ? slice_of(response->body, response->body_len) : slice_of(NULL, 0),
                                        &answer, &why);
    if (result == SAGATE_OK && request->kind == REQUEST_REGISTER && answer.id[0] == '\0') {
        why = "it names no resource";
        result = SAGATE_EMALFORMED;
    }
    if (result == SAGATE_OK) {
        held(client, request, &answer);
        return;
    }
    if (!noted)
        client_note(client, "%s failed: %s%s%s", request->kind == REQUEST_REGISTER ? "registration" : "renewal",
                    result == SAGATE_ENOTFOUND ? "refused" : sagate_strerror(result), why[0] != '\0' ? ": " : "", why);
    if (request->kind == REQUEST_UPDATE && result == SAGATE_ENOTFOUND) {
        registration->id[0] = '\0';
        registration->expires_at = 0;
        client->status.registered = false;
        ask(client, REQUEST_REGISTER);
        return;
    }
    again(client);
}

int registration_start(struct tef_client *client)
{
    client->registration.timer = evtimer_new(client->base, on_timer, client);
    if (client->registration.timer == NULL)
        return SAGATE_ENOMEM;
    client->status.registered = !client->settings.register_client;
    if (client->settings.register_client)
        ask(client, REQUEST_REGISTER);
    return SAGATE_OK;
}

void registration_end(struct tef_client *client)
{
    if (client->registration.timer == NULL)
        return;
    finished(client);
    event_free(client->registration.timer);
}

void tef_client_leave(struct tef_client *client, unsigned timeout_ms, void (*done)(void *context), void *context)
{
    struct registration *registration = &client->registration;
    bool registered = registration->id[0] != '\0';
    registration->state = REGISTRATION_LEAVING;
    registration->left = done;
    registration->left_context = context;
    if (registered && client_ask(client, REQUEST_LEAVE, slice_text(registration->id), NULL, NULL) != SAGATE_OK)
        registered = false;
    registration->id[0] = '\0';
    client->status.registered = false;
    client_timer(registration->timer, registered ? timeout_ms : 0);
}
