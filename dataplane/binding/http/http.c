// The HTTP binding's outside: making, reloading, draining, and events to the part they are for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/http.h"

#include "common/error.h"
#include "dataplane/binding/http/internal.h"

void http_count(struct http *http, enum stat_id stat)
{
    if (http->options.stats != NULL)
        stats_add(http->options.stats, stat, 1);
}

int http_new(const struct http_options *options, struct http **http)
{
    struct http *made = calloc(1, sizeof *made);
    *http = made;
    if (made == NULL)
        return SAGATE_ENOMEM;
    made->options = *options;
    made->config = options->config;
    made->checker = (struct upstream_checker){.context = made, .check = http_check_start};
    upstream_set_checker(options->upstreams, CONFIG_HTTP, &made->checker);
    return SAGATE_OK;
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    http_checks_free(http);
    while (http->exchanges != NULL)
        http_exchange_end(http->exchanges, UPSTREAM_UNTOLD);
    while (http->conns != NULL)
        http_device_gone(http, http->conns->device, http->now_us);
    http_pools_free(http);
    http_exchanges_free(http);
    buffer_release(&http->wire);
    buffer_release(&http->spare_out);
    free(http);
}

int http_reload(struct http *http, const struct config *config, uint64_t now_ms)
{
    http_set_ms(http, now_ms);
    http_checks_reload(http, config);
    http->config = config;
    http->options.config = config;
    http_pools_reload(http, config);
    return SAGATE_OK;
}

void http_from_upstream(struct http *http, const struct io_event *event, uint64_t now_us)
{
    struct http_link *link = (struct http_link *)(void *)event->user;
    http->now_us = now_us;
    if (link->stream == 0 || link->stream != event->stream)
        return; // of this batch, for a connection that was ended meanwhile
    if (link->is_check)
        http_check_event(http, event);
    else
        http_client_event((struct http_client *)(void *)link, event);
}

size_t http_in_flight(const struct http *http)
{
    return http->in_flight;
}

void http_drain(struct http *http, bool on)
{
    http->draining = on;
}
