// The command "tef status": the MAFs and MEFs, as their clients see them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/commands.h"
#include "controlplane/control/state.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *describe(const struct config_tef *tef, const struct tef_status *status)
{
    char address[ADDRESS_TEXT_MAX];
    json_t *object = json_object();
    (void)json_object_set_new(object, "name", commands_text(slice_text(tef->name)));
    (void)json_object_set_new(object, "kind", json_string(tef->kind == TEF_MAF ? "maf" : "mef"));
    (void)json_object_set_new(object, "fqdn", commands_text(slice_text(tef->fqdn)));
    (void)json_object_set_new(object, "binding", json_string(tef->coap ? "coap" : "http"));
    (void)json_object_set_new(object, "address", json_string(address_format(&tef->address, address)));
    (void)json_object_set_new(object, "registered", json_boolean(status->registered));
    (void)json_object_set_new(object, "registration_expires", commands_time(status->registration_expires_at));
    (void)json_object_set_new(object, "connections", number(status->connections));
    (void)json_object_set_new(object, "waiting", number(status->waiting));
    (void)json_object_set_new(object, "in_flight", number(status->in_flight));
    (void)json_object_set_new(object, "requests", number(status->requests));
    (void)json_object_set_new(object, "ok", number(status->ok));
    (void)json_object_set_new(object, "not_found", number(status->not_found));
    (void)json_object_set_new(
        object, "failures",
        number(status->malformed + status->timeouts + status->unavailable + status->handshake_failures));
    (void)json_object_set_new(object, "last_error",
                              status->last_error[0] == '\0' ? json_null()
                                                            : commands_text(slice_text(status->last_error)));
    (void)json_object_set_new(object, "last_error_time", commands_time(status->last_error_at));
    return object;
}

void tefs_status_command(struct control *control, struct control_request *request, const json_t *command)
{
    struct tef_status status;
    const char *name;
    json_t *list = json_array();
    (void)command;
    for (size_t i = 0; i < control->config->tef_count && tefs_status(control->tefs, i, &name, &status); i++)
        (void)json_array_append_new(list, describe(&control->config->tefs[i], &status));
    control_request_answer(request, json_pack("{s:o}", "tefs", list));
}
