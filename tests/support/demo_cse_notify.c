// Subscriptions: sends m2m:sgn to the notification URIs, over HTTP or CoAP. No verification request is made.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

static void on_answer(struct evhttp_request *request, void *arg)
{
    (void)request;
    (void)arg; // whether it arrived is the receiver's to tell
}

static void send_http(struct demo *demo, const char *url, const char *rqi, const char *content)
{
    struct evhttp_uri *uri = evhttp_uri_parse(url);
    if (uri == NULL)
        return;
    if (evhttp_uri_get_host(uri) == NULL) {
        evhttp_uri_free(uri);
        return;
    }
    int port = evhttp_uri_get_port(uri) > 0 ? evhttp_uri_get_port(uri) : 80;
    struct evhttp_connection *connection =
        evhttp_connection_base_new(demo->base, NULL, evhttp_uri_get_host(uri), (uint16_t)port);
    struct evhttp_request *request = evhttp_request_new(on_answer, NULL);
    const char *path = evhttp_uri_get_path(uri);
    if (connection != NULL && request != NULL) {
        struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
        evhttp_add_header(headers, "Host", evhttp_uri_get_host(uri));
        evhttp_add_header(headers, "X-M2M-Origin", demo->options.cse_id);
        evhttp_add_header(headers, "X-M2M-RI", rqi);
        evhttp_add_header(headers, "X-M2M-RVI", "3");
        evhttp_add_header(headers, "Content-Type", "application/json");
        evhttp_add_header(headers, "Connection", "close");
        evbuffer_add(evhttp_request_get_output_buffer(request), content, strlen(content));
        evhttp_connection_set_timeout(connection, 5);
        evhttp_connection_free_on_completion(connection);
        evhttp_make_request(connection, request, EVHTTP_REQ_POST, path != NULL && path[0] != '\0' ? path : "/");
    }
    evhttp_uri_free(uri);
}

static void send_to(struct demo *demo, const char *target, const char *content)
{
    char rqi[40];
    snprintf(rqi, sizeof rqi, "notify%lu", ++demo->counter);
    if (strncmp(target, "http://", 7) == 0) {
        send_http(demo, target, rqi, content);
    } else if (strncmp(target, "coap://", 7) == 0) {
        coap_send_notify(demo, target, rqi, content);
    } else {
        // A resource ID: the points of access of that AE are used.
        enum virtual_name virtual_name;
        struct resource *ae = resource_find(demo, target, &virtual_name);
        const char *poa =
            ae == NULL ? NULL : json_string_value(json_array_get(json_object_get(ae->attributes, "poa"), 0));
        if (poa != NULL && (strncmp(poa, "http://", 7) == 0 || strncmp(poa, "coap://", 7) == 0))
            send_to(demo, poa, content);
    }
}

static bool wants(const struct resource *subscription, int net)
{
    json_t *list = json_object_get(json_object_get(subscription->attributes, "enc"), "net"), *value;
    size_t i;
    if (!json_is_array(list))
        return net == NET_UPDATE;
    json_array_foreach(list, i, value)
    {
        if (json_integer_value(value) == net)
            return true;
    }
    return false;
}

void notify_event(struct demo *demo, struct resource *resource, int net, struct resource *other)
{
    const struct resource *shown = other != NULL ? other : resource;
    for (struct resource *child = resource->first; child != NULL; child = child->next) {
        json_t *url;
        size_t i;
        char address[1024], name[1100];
        if (child->ty != TY_SUB || child == other || !wants(child, net))
            continue;
        resource_address(child, address, sizeof address);
        snprintf(name, sizeof name, "%s/%s", demo->options.cse_id, address);
        json_t *message = json_pack("{s:{s:{s:i, s:{s:O}}, s:s}}", "m2m:sgn", "nev", "net", net, "rep",
                                    type_name(shown->ty), shown->attributes, "sur", name);
        char *content = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
        json_array_foreach(json_object_get(child->attributes, "nu"), i, url)
        {
            if (content != NULL && json_is_string(url))
                send_to(demo, json_string_value(url), content);
        }
        free(content);
        json_decref(message);
    }
    coap_resource_changed(demo, resource);
}
