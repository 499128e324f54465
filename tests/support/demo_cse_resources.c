// The resource tree of the demonstration CSE: CSEBase, AE, container, contentInstance, subscription, remoteCSE.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *type_name(int ty)
{
    switch (ty) {
    case TY_AE:
        return "m2m:ae";
    case TY_CNT:
        return "m2m:cnt";
    case TY_CIN:
        return "m2m:cin";
    case TY_CB:
        return "m2m:cb";
    case TY_CSR:
        return "m2m:csr";
    case TY_SUB:
        return "m2m:sub";
    default:
        return NULL;
    }
}

void timestamp_now(char out[20])
{
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(out, 20, "%Y%m%dT%H%M%S", &parts);
}

const char *resource_ri(const struct resource *resource)
{
    return json_string_value(json_object_get(resource->attributes, "ri"));
}

static const char *resource_rn(const struct resource *resource)
{
    return json_string_value(json_object_get(resource->attributes, "rn"));
}

struct resource *resource_by_id(struct demo *demo, const char *ri)
{
    json_t *entry = json_object_get(demo->index, ri);
    return entry == NULL ? NULL : (struct resource *)(intptr_t)json_integer_value(entry);
}

struct resource *resource_child(const struct resource *parent, const char *name)
{
    for (struct resource *child = parent->first; child != NULL; child = child->next)
        if (strcmp(resource_rn(child), name) == 0)
            return child;
    return NULL;
}

struct resource *resource_latest(const struct resource *container)
{
    struct resource *child = container->last;
    while (child != NULL && child->ty != TY_CIN)
        child = child->previous;
    return child;
}

struct resource *resource_oldest(const struct resource *container)
{
    struct resource *child = container->first;
    while (child != NULL && child->ty != TY_CIN)
        child = child->next;
    return child;
}

void resource_address(const struct resource *resource, char *out, size_t cap)
{
    if (resource->parent == NULL) {
        snprintf(out, cap, "%s", resource_rn(resource));
        return;
    }
    resource_address(resource->parent, out, cap);
    size_t len = strlen(out);
    snprintf(out + len, cap - len, "/%s", resource_rn(resource));
}

// Takes the SP and CSE parts off; NULL when they are another's.
static const char *cse_relative(struct demo *demo, const char *to)
{
    size_t sp_len = strlen(demo->options.sp_id), cse_len = strlen(demo->options.cse_id);
    if (strncmp(to, "//", 2) == 0) {
        if (strncmp(to, demo->options.sp_id, sp_len) != 0 || to[sp_len] != '/')
            return NULL;
        to += sp_len;
    }
    if (to[0] != '/')
        return to;
    if (strncmp(to, demo->options.cse_id, cse_len) != 0)
        return NULL;
    to += cse_len;
    if (to[0] == '\0')
        return "-"; // the CSE-ID itself stands for the CSEBase
    return to[0] == '/' ? to + 1 : NULL;
}

struct resource *resource_find(struct demo *demo, const char *to, enum virtual_name *virtual_name)
{
    *virtual_name = VIRTUAL_NONE;
    const char *rest = cse_relative(demo, to);
    if (rest == NULL || strlen(rest) >= 1024)
        return NULL;
    char copy[1024], *save = NULL;
    snprintf(copy, sizeof copy, "%s", rest);
    char *segment = strtok_r(copy, "/", &save);
    if (segment == NULL)
        return NULL;
    bool is_base = strcmp(segment, "-") == 0 || strcmp(segment, demo->options.cse_name) == 0;
    struct resource *resource = is_base ? demo->root : resource_by_id(demo, segment);
    while (resource != NULL && (segment = strtok_r(NULL, "/", &save)) != NULL) {
        struct resource *parent = resource;
        if (*virtual_name != VIRTUAL_NONE)
            return NULL; // nothing is below a virtual resource
        if (parent->ty == TY_CNT && strcmp(segment, "la") == 0)
            *virtual_name = VIRTUAL_LATEST;
        else if (parent->ty == TY_CNT && strcmp(segment, "ol") == 0)
            *virtual_name = VIRTUAL_OLDEST;
        else
            resource = resource_child(parent, segment);
    }
    return resource;
}

struct resource *resource_add(struct demo *demo, struct resource *parent, int ty, const char *ri, const char *rn,
                              json_t *attributes)
{
    struct resource *resource = calloc(1, sizeof *resource);
    char made[32], now[20];
    if (resource == NULL) {
        json_decref(attributes);
        return NULL;
    }
    if (ri == NULL) {
        snprintf(made, sizeof made, "%s%lu", type_name(ty) + 4, ++demo->counter);
        ri = made;
    }
    timestamp_now(now);
    resource->ty = ty;
    resource->attributes = attributes;
    json_object_set_new(attributes, "ty", json_integer(ty));
    json_object_set_new(attributes, "ri", json_string(ri));
    json_object_set_new(attributes, "rn", json_string(rn != NULL ? rn : ri));
    json_object_set_new(attributes, "ct", json_string(now));
    json_object_set_new(attributes, "lt", json_string(now));
    if (parent != NULL) {
        json_object_set_new(attributes, "pi", json_string(resource_ri(parent)));
        resource->parent = parent;
        resource->previous = parent->last;
        if (parent->last != NULL)
            parent->last->next = resource;
        else
            parent->first = resource;
        parent->last = resource;
    }
    json_object_set_new(demo->index, ri, json_integer((json_int_t)(intptr_t)resource));
    return resource;
}

void resource_remove(struct demo *demo, struct resource *resource)
{
    while (resource->first != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the child takes itself out of its parent's list
        resource_remove(demo, resource->first);
    coap_resource_gone(demo, resource);
    struct resource *parent = resource->parent;
    if (parent != NULL) {
        if (resource->previous != NULL)
            resource->previous->next = resource->next;
        else
            parent->first = resource->next;
        if (resource->next != NULL)
            resource->next->previous = resource->previous;
        else
            parent->last = resource->previous;
    }
    json_object_del(demo->index, resource_ri(resource));
    json_decref(resource->attributes);
    free(resource);
}

int resources_init(struct demo *demo)
{
    demo->index = json_object();
    json_t *types = json_pack("[i,i,i,i,i,i]", TY_AE, TY_CNT, TY_CIN, TY_CB, TY_CSR, TY_SUB);
    json_t *attributes = json_pack("{s:s, s:i, s:o, s:[s,s,s], s:b}", "csi", demo->options.cse_id, "cst", 1, "srt",
                                   types, "srv", "2a", "3", "4", "rr", 1);
    if (demo->index == NULL || attributes == NULL)
        return -1;
    demo->root = resource_add(demo, NULL, TY_CB, demo->options.cse_id + 1, demo->options.cse_name, attributes);
    return demo->root != NULL ? 0 : -1;
}

void resources_free(struct demo *demo)
{
    if (demo->root != NULL)
        resource_remove(demo, demo->root);
    demo->root = NULL;
    json_decref(demo->index);
}
