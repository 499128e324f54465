// Carries out CREATE, RETRIEVE, UPDATE, DELETE and NOTIFY on the demonstration CSE's resources (TS-0001, TS-0004).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { CHILDREN_LIMIT = 10000 }; // content instances that a container without mni keeps

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(const char *text, size_t len, char *out, size_t cap)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%' && i + 2 < len && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
            c = (char)(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
            i += 2;
        }
        if (c == '\0' || used + 1 >= cap)
            return false;
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

void request_add_query(struct request *request, const char *text, size_t len)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    if (request->parameter_count == PARAMETERS_MAX || name_len == 0)
        return;
    struct parameter *parameter = &request->parameters[request->parameter_count];
    if (!percent_decode(text, name_len, parameter->name, sizeof parameter->name))
        return;
    parameter->value[0] = '\0';
    if (equals != NULL && !percent_decode(equals + 1, len - name_len - 1, parameter->value, sizeof parameter->value))
        return;
    request->parameter_count++;
}

const char *request_parameter(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->parameter_count; i++)
        if (strcmp(request->parameters[i].name, name) == 0)
            return request->parameters[i].value;
    return NULL;
}

bool request_list_contains(const struct request *request, const char *name, const char *value)
{
    size_t value_len = strlen(value);
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (strcmp(request->parameters[i].name, name) != 0)
            continue;
        for (const char *p = request->parameters[i].value; *p != '\0';) {
            size_t len = strcspn(p, "+ ");
            if (len == value_len && strncmp(p, value, len) == 0)
                return true;
            p += len;
            p += strspn(p, "+ ");
        }
    }
    return false;
}

int rsc_http_status(int rsc)
{
    switch (rsc) {
    case 2000:
    case 2002:
    case 2004:
        return 200;
    case 2001:
        return 201;
    case 4004:
        return 404;
    case 4005:
        return 405;
    case 4015:
        return 415;
    case 4105:
        return 409;
    case 4103:
    case 4106:
    case 4107:
    case 4108:
    case 4117:
        return 403;
    case 4001:
    case 5206:
        return 501;
    default:
        return rsc < 5000 ? 400 : 500;
    }
}

uint8_t rsc_coap_code(int rsc, int operation)
{
    switch (rsc) {
    case 2000:
        return operation == OP_RETRIEVE ? 0x45 : 0x44;
    case 2001:
        return 0x41;
    case 2002:
        return 0x42;
    case 2004:
        return 0x44;
    case 4105:
        return 0x83;
    default: {
        int status = rsc_http_status(rsc);
        return (uint8_t)((status / 100) << 5 | (status % 100));
    }
    }
}

static void refuse(struct answer *answer, int rsc, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(struct answer *answer, int rsc, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_decref(answer->content);
    answer->content = json_pack("{s:s}", "m2m:dbg", text);
    answer->rsc = rsc;
}

// Writes the originator as a stem, or "/…" for a CSE and for another CSE's AE. False for another form than is wanted.
static bool canonical_from(const struct demo *demo, const char *from, char *out, size_t cap)
{
    const struct demo_options *options = &demo->options;
    size_t sp_len = strlen(options->sp_id), cse_len = strlen(options->cse_id);
    bool absolute = strncmp(from, "//", 2) == 0;
    bool relative = !absolute && from[0] == '/';
    if ((options->from == FROM_STEM && (absolute || relative)) || (options->from == FROM_SP_RELATIVE && !relative) ||
        (options->from == FROM_ABSOLUTE && !absolute))
        return false;
    if (absolute && (strncmp(from, options->sp_id, sp_len) != 0 || from[sp_len] != '/'))
        return snprintf(out, cap, "%s", from) < (int)cap;
    if (absolute)
        from += sp_len;
    if (strncmp(from, options->cse_id, cse_len) == 0 && from[cse_len] == '/')
        from += cse_len + 1;
    else if (from[0] == '/' && from[1] == 'S' && strchr(from + 1, '/') == NULL)
        from++;
    return snprintf(out, cap, "%s", from) < (int)cap;
}

static bool is_full_access(const struct demo *demo, const char *from)
{
    return strcmp(from, demo->options.admin) == 0 || strcmp(from, demo->options.cse_id) == 0;
}

static json_t *representation(const struct resource *resource)
{
    return json_deep_copy(resource->attributes);
}

static void add_children(json_t *object, const struct resource *resource)
{
    for (const struct resource *child = resource->first; child != NULL; child = child->next) {
        json_t *list = json_object_get(object, type_name(child->ty)), *copy = representation(child);
        if (list == NULL) {
            list = json_array();
            json_object_set_new(object, type_name(child->ty), list);
        }
        add_children(copy, child);
        json_array_append_new(list, copy);
    }
}

static json_t *child_references(const struct resource *resource)
{
    json_t *list = json_array();
    for (const struct resource *child = resource->first; child != NULL; child = child->next) {
        char address[1024];
        resource_address(child, address, sizeof address);
        json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "nm",
                                              json_string_value(json_object_get(child->attributes, "rn")), "val",
                                              address, "typ", child->ty));
    }
    return list;
}

// The content that `rcn` asks for. False for a value that does not fit the operation.
static bool result_content(const struct resource *resource, int rcn, struct answer *answer)
{
    char address[1024];
    json_t *object;
    resource_address(resource, address, sizeof address);
    switch (rcn) {
    case 0:
        return true;
    case 1:
    case 9:
        answer->content = json_pack("{s:o}", type_name(resource->ty), representation(resource));
        return true;
    case 2:
        answer->content = json_pack("{s:s}", "m2m:uri", address);
        return true;
    case 3:
        answer->content =
            json_pack("{s:{s:s, s:o}}", "m2m:rce", "uri", address, type_name(resource->ty), representation(resource));
        return true;
    case 4:
    case 8:
        object = rcn == 4 ? representation(resource) : json_object();
        add_children(object, resource);
        answer->content = json_pack("{s:o}", type_name(resource->ty), object);
        return true;
    case 5:
        object = representation(resource);
        json_object_set_new(object, "ch", child_references(resource));
        answer->content = json_pack("{s:o}", type_name(resource->ty), object);
        return true;
    case 6:
        answer->content = json_pack("{s:o}", "m2m:rrl", json_pack("{s:o}", "rrf", child_references(resource)));
        return true;
    default:
        return false;
    }
}

static bool rcn_allowed(int operation, int rcn)
{
    const char *allowed = operation == OP_CREATE     ? "01239"
                          : operation == OP_RETRIEVE ? "1456 8"
                          : operation == OP_UPDATE   ? "019"
                                                     : "01";
    return rcn >= 0 && rcn <= 9 && strchr(allowed, '0' + rcn) != NULL;
}

static void discover(const struct request *request, const struct resource *from, int level, long *limit, json_t *list)
{
    for (const struct resource *child = from->first; child != NULL && *limit > 0; child = child->next) {
        char ty[8], address[1024];
        bool match = true;
        snprintf(ty, sizeof ty, "%d", child->ty);
        if (request_parameter(request, "ty") != NULL && !request_list_contains(request, "ty", ty))
            match = false;
        if (request_parameter(request, "lbl") != NULL) {
            size_t i;
            json_t *label;
            bool found = false;
            json_array_foreach(json_object_get(child->attributes, "lbl"), i, label)
            {
                found = found || request_list_contains(request, "lbl", json_string_value(label));
            }
            match = match && found;
        }
        if (match) {
            const char *drt = request_parameter(request, "drt");
            resource_address(child, address, sizeof address);
            json_array_append_new(list,
                                  json_string(drt != NULL && strcmp(drt, "2") == 0 ? resource_ri(child) : address));
            (*limit)--;
        }
        if (level != 1)
            discover(request, child, level - 1, limit, list);
    }
}

static void do_retrieve(const struct request *request, struct resource *resource, int rcn, struct answer *answer)
{
    const char *fu = request_parameter(request, "fu");
    answer->rsc = 2000;
    if (fu != NULL && strcmp(fu, "1") == 0) {
        const char *lim = request_parameter(request, "lim"), *lvl = request_parameter(request, "lvl");
        long limit = lim != NULL ? strtol(lim, NULL, 10) : 1000;
        json_t *list = json_array();
        discover(request, resource, lvl != NULL ? (int)strtol(lvl, NULL, 10) : 0, &limit, list);
        answer->content = json_pack("{s:o}", "m2m:uril", list);
        return;
    }
    result_content(resource, rcn, answer);
}

static bool child_allowed(int parent, int child)
{
    switch (parent) {
    case TY_CB:
        return child == TY_AE || child == TY_CNT || child == TY_SUB || child == TY_CSR;
    case TY_AE:
    case TY_CSR:
        return child == TY_CNT || child == TY_SUB;
    case TY_CNT:
        return child == TY_CNT || child == TY_CIN || child == TY_SUB;
    default:
        return false;
    }
}

static void assign_ae_id(char *out, char kind)
{
    static const char alphabet[] = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    uint8_t random[8] = {0};
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    out[0] = kind;
    for (size_t i = 0; i < 8; i++)
        out[1 + i] = alphabet[random[i] % (sizeof alphabet - 1)];
    out[9] = '\0';
}

static bool name_ok(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("-._~", name[i]) == NULL)
            return false;
    return len > 0 && len < 128 && strcmp(name, "la") != 0 && strcmp(name, "ol") != 0;
}

static void keep_limits(struct demo *demo, struct resource *container)
{
    json_t *attributes = container->attributes;
    json_int_t mni = json_is_integer(json_object_get(attributes, "mni"))
                         ? json_integer_value(json_object_get(attributes, "mni"))
                         : CHILDREN_LIMIT;
    json_int_t cni = json_integer_value(json_object_get(attributes, "cni")),
               cbs = json_integer_value(json_object_get(attributes, "cbs"));
    while (cni > mni) {
        struct resource *oldest = resource_oldest(container);
        if (oldest == NULL)
            break;
        cbs -= json_integer_value(json_object_get(oldest->attributes, "cs"));
        cni--;
        resource_remove(demo, oldest);
    }
    json_object_set_new(attributes, "cni", json_integer(cni));
    json_object_set_new(attributes, "cbs", json_integer(cbs));
}

// Checks what the type needs and adds what the CSE gives. False with the answer filled.
static bool prepare_attributes(const struct demo *demo, int ty, const char *from, json_t *attributes,
                               struct answer *answer)
{
    const json_t *value;
    const char *text;
    (void)demo;
    switch (ty) {
    case TY_AE:
        text = json_string_value(json_object_get(attributes, "api"));
        if (text == NULL || (text[0] != 'N' && text[0] != 'R' && text[0] != 'r')) {
            refuse(answer, 4000, "api is missing or begins with none of N, R, r");
            return false;
        }
        if (!json_is_boolean(json_object_get(attributes, "rr"))) {
            refuse(answer, 4000, "rr is missing");
            return false;
        }
        return true;
    case TY_CSR:
        json_object_set_new(attributes, "csi", json_string(from));
        return true;
    case TY_CNT:
        json_object_set_new(attributes, "cni", json_integer(0));
        json_object_set_new(attributes, "cbs", json_integer(0));
        json_object_set_new(attributes, "st", json_integer(0));
        return true;
    case TY_CIN:
        value = json_object_get(attributes, "con");
        if (value == NULL) {
            refuse(answer, 4000, "con is missing");
            return false;
        }
        json_object_set_new(
            attributes, "cs",
            json_integer((json_int_t)(json_is_string(value) ? json_string_length(value) : sizeof(int))));
        return true;
    case TY_SUB:
        value = json_object_get(attributes, "nu");
        if (!json_is_array(value) || json_array_size(value) == 0) {
            refuse(answer, 4000, "nu is missing");
            return false;
        }
        return true;
    default:
        return false;
    }
}

static void after_create(struct demo *demo, struct resource *parent, struct resource *made)
{
    if (made->ty == TY_CIN) {
        json_t *attributes = parent->attributes;
        json_int_t cs = json_integer_value(json_object_get(made->attributes, "cs"));
        json_object_set_new(attributes, "st", json_integer(json_integer_value(json_object_get(attributes, "st")) + 1));
        json_object_set_new(attributes, "cni",
                            json_integer(json_integer_value(json_object_get(attributes, "cni")) + 1));
        json_object_set_new(attributes, "cbs",
                            json_integer(json_integer_value(json_object_get(attributes, "cbs")) + cs));
    }
    notify_event(demo, parent, NET_CREATE_CHILD, made);
    if (made->ty == TY_CIN)
        keep_limits(demo, parent);
}

static void do_create(struct demo *demo, const struct request *request, struct resource *parent, const char *from,
                      json_t *content, int rcn, struct answer *answer)
{
    int ty = request->ty;
    char ae_id[128] = "";
    const char *ri = NULL;
    if (type_name(ty) == NULL || ty == TY_CB) {
        refuse(answer, 4000, "resource type %d is not known here", ty);
        return;
    }
    json_t *given = json_object_get(content, type_name(ty));
    if (!json_is_object(given) || json_object_size(content) != 1) {
        refuse(answer, 4000, "the content is not one %s object", type_name(ty));
        return;
    }
    if (!child_allowed(parent->ty, ty)) {
        refuse(answer, 4108, "%s cannot be a child of %s", type_name(ty), type_name(parent->ty));
        return;
    }
    const char *rn = json_string_value(json_object_get(given, "rn"));
    if (rn != NULL && !name_ok(rn)) {
        refuse(answer, 4000, "rn is not a resource name");
        return;
    }
    if (ty == TY_AE) {
        if (from[0] == '\0' || strcmp(from, "C") == 0 || strcmp(from, "S") == 0) {
            assign_ae_id(ae_id, from[0] == 'S' ? 'S' : 'C');
        } else if ((from[0] != 'C' && from[0] != 'S') || strlen(from) >= sizeof ae_id || strchr(from, '/') != NULL) {
            refuse(answer, 4000, "From is not an AE-ID-Stem");
            return;
        } else {
            snprintf(ae_id, sizeof ae_id, "%s", from);
        }
        if (resource_by_id(demo, ae_id) != NULL) {
            refuse(answer, 4117, "%s has registered already", ae_id);
            return;
        }
        ri = ae_id;
    }
    if (rn != NULL && resource_child(parent, rn) != NULL) {
        refuse(answer, 4105, "the name %s is taken", rn);
        return;
    }
    json_t *attributes = json_deep_copy(given);
    if (!prepare_attributes(demo, ty, from, attributes, answer)) {
        json_decref(attributes);
        return;
    }
    if (ty == TY_AE)
        json_object_set_new(attributes, "aei", json_string(ae_id));
    char *name = rn != NULL ? strdup(rn) : NULL;
    struct resource *made = resource_add(demo, parent, ty, ri, name, attributes);
    free(name);
    if (made == NULL) {
        refuse(answer, 5000, "out of memory");
        return;
    }
    snprintf(made->creator, sizeof made->creator, "%s", ty == TY_AE ? ae_id : from);
    answer->rsc = 2001;
    result_content(made, rcn, answer);
    resource_address(made, answer->location, sizeof answer->location);
    after_create(demo, parent, made);
}

static void do_update(struct demo *demo, struct resource *resource, json_t *content, int rcn, struct answer *answer)
{
    static const char *const read_only[] = {"ri", "rn", "pi", "ty", "ct", "lt", "aei", "csi", "cni", "cbs", "st", "cs"};
    json_t *given = json_object_get(content, type_name(resource->ty)), *value;
    const char *name;
    if (resource->ty == TY_CIN || resource->ty == TY_CB) {
        refuse(answer, 4005, "%s cannot be updated", type_name(resource->ty));
        return;
    }
    if (!json_is_object(given) || json_object_size(content) != 1) {
        refuse(answer, 4000, "the content is not one %s object", type_name(resource->ty));
        return;
    }
    for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; i++) {
        if (json_object_get(given, read_only[i]) != NULL) {
            refuse(answer, 4000, "%s cannot be changed", read_only[i]);
            return;
        }
    }
    json_object_foreach(given, name, value)
    {
        if (json_is_null(value))
            json_object_del(resource->attributes, name);
        else
            json_object_set_new(resource->attributes, name, json_deep_copy(value));
    }
    char now[20];
    timestamp_now(now);
    json_object_set_new(resource->attributes, "lt", json_string(now));
    if (resource->ty == TY_CNT)
        keep_limits(demo, resource);
    answer->rsc = 2004;
    result_content(resource, rcn, answer);
    notify_event(demo, resource, NET_UPDATE, NULL);
}

static void do_delete(struct demo *demo, struct resource *resource, int rcn, struct answer *answer)
{
    if (resource->ty == TY_CB) {
        refuse(answer, 4005, "the CSEBase cannot be deleted");
        return;
    }
    struct resource *parent = resource->parent;
    answer->rsc = 2002;
    result_content(resource, rcn, answer);
    if (resource->ty == TY_CIN) {
        json_t *attributes = parent->attributes;
        json_int_t cs = json_integer_value(json_object_get(resource->attributes, "cs"));
        json_object_set_new(attributes, "cni",
                            json_integer(json_integer_value(json_object_get(attributes, "cni")) - 1));
        json_object_set_new(attributes, "cbs",
                            json_integer(json_integer_value(json_object_get(attributes, "cbs")) - cs));
    }
    notify_event(demo, resource, NET_DELETE, NULL);
    notify_event(demo, parent, NET_DELETE_CHILD, resource);
    resource_remove(demo, resource);
}

// What every request must have, whatever it asks for. False with the answer filled.
static bool check_request(const struct request *request, struct answer *answer)
{
    const char *rt = request_parameter(request, "rt");
    bool registration = request->operation == OP_CREATE && request->ty == TY_AE;
    if (!request->has_rqi || request->rqi[0] == '\0')
        refuse(answer, 4000, "the request identifier is missing");
    else if (request->operation == 0)
        refuse(answer, 4005, "there is no such operation");
    else if ((!request->has_from || request->from[0] == '\0') && !registration)
        refuse(answer, 4000, "From is missing");
    else if (rt != NULL && strcmp(rt, "3") != 0)
        refuse(answer, 5206, "only blocking requests are served");
    else if (request->body_len > 0 && !request->json_type)
        refuse(answer, 4015, "only JSON is read here");
    else
        return true;
    return false;
}

static void carry_out(struct demo *demo, const struct request *request, json_t *content, struct answer *answer)
{
    enum virtual_name virtual_name;
    char from[512] = "";
    bool wish = !request->has_from || request->from[0] == '\0' || strcmp(request->from, "C") == 0 ||
                strcmp(request->from, "S") == 0;
    const char *text = request_parameter(request, "rcn");
    int rcn = text != NULL ? (int)strtol(text, NULL, 10) : request->operation == OP_DELETE ? 0 : 1;
    if (wish) {
        snprintf(from, sizeof from, "%s", request->from);
    } else if (!canonical_from(demo, request->from, from, sizeof from)) {
        refuse(answer, 4103, "this form of From is not known here");
        return;
    }
    struct resource *resource = resource_find(demo, request->to, &virtual_name), *container = resource;
    if (resource != NULL && virtual_name != VIRTUAL_NONE) {
        resource = virtual_name == VIRTUAL_LATEST ? resource_latest(container) : resource_oldest(container);
        if (request->operation != OP_RETRIEVE && request->operation != OP_DELETE) {
            refuse(answer, 4005, "la and ol can be retrieved and deleted only");
            return;
        }
    }
    if (resource == NULL)
        refuse(answer, 4004, "there is no such resource");
    else if (request->operation != OP_NOTIFY && !rcn_allowed(request->operation, rcn))
        refuse(answer, 4000, "this rcn does not fit the operation");
    else if ((request->operation == OP_UPDATE || request->operation == OP_DELETE) && resource->creator[0] != '\0' &&
             strcmp(resource->creator, from) != 0 && !is_full_access(demo, from))
        refuse(answer, 4103, "only the creator may do this");
    else if (request->operation == OP_RETRIEVE)
        do_retrieve(request, resource, rcn, answer);
    else if (request->operation == OP_DELETE)
        do_delete(demo, resource, rcn, answer);
    else if (request->operation == OP_NOTIFY)
        answer->rsc = 2000; // recorded; this CSE hands nothing on to an AE
    else if (!json_is_object(content))
        refuse(answer, 4000, "the content is no JSON object");
    else if (request->operation == OP_CREATE)
        do_create(demo, request, resource, from, content, rcn, answer);
    else
        do_update(demo, resource, content, rcn, answer);
}

void primitive_handle(struct demo *demo, const struct request *request, struct answer *answer)
{
    memset(answer, 0, sizeof *answer);
    if (!check_request(request, answer))
        return;
    json_t *content = NULL;
    if (request->body_len > 0) {
        content = json_loadb((const char *)request->body, request->body_len, JSON_REJECT_DUPLICATES, NULL);
        if (content == NULL) {
            refuse(answer, 4000, "the content is no JSON");
            return;
        }
    }
    carry_out(demo, request, content, answer);
    json_decref(content);
}
