// XML 1.0: the well-formedness that decides what is an element and what is its text. Malformed on purpose: DOCTYPE, so
// that the five entities are all there are, and other encodings than UTF-8. Attributes are passed over.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/content/scan.h"

#include <strings.h>

enum xml_state {
    XML_TEXT,
    XML_LT, // after '<'
    XML_BANG,
    XML_COMMENT_OPEN,
    XML_COMMENT,
    XML_CDATA_OPEN,
    XML_CDATA,
    XML_PI_TARGET,
    XML_PI,
    XML_PI_END, // after "?" right behind the target
    XML_DECLARATION,
    XML_START_NAME,
    XML_ATTRIBUTES, // white space, then an attribute or the end of the tag
    XML_ATTRIBUTE_NAME,
    XML_EQUALS,
    XML_QUOTE,
    XML_ATTRIBUTE_VALUE,
    XML_ATTRIBUTE_AFTER,
    XML_EMPTY, // after "/" in a start tag
    XML_END_NAME,
    XML_END_SPACE,
    XML_REFERENCE,
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_start(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_name_char(uint8_t c)
{
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
}

static int go(struct content_scan *scan, enum xml_state state)
{
    scan->xml.state = (uint8_t)state;
    scan->xml.run = 0;
    return SAGATE_OK;
}

static bool at_wanted_text(const struct content_scan *scan)
{
    return scan->capturing != 0 && scan->depth == 2;
}

// Something stands inside a wanted value that is no text: readers differ in what its text then is.
static void mark_no_text(struct content_scan *scan)
{
    if (scan->capturing != 0)
        scan->value_bad = true;
}

static int keep(struct content_scan *scan, uint8_t c)
{
    if (scan->xml.len >= SCAN_XML_NAMES)
        return SAGATE_ETOOBIG;
    scan->xml.names[scan->xml.len++] = (char)c;
    return SAGATE_OK;
}

static int keep_name(struct content_scan *scan, uint8_t c)
{
    return scan_utf8_step(&scan->name_utf8, c) ? keep(scan, c) : SAGATE_EMALFORMED;
}

static int begin_name(struct content_scan *scan, uint8_t c, enum xml_state state)
{
    if (!is_name_start(c))
        return SAGATE_EMALFORMED;
    scan->name_utf8 = (struct scan_utf8){0};
    scan->xml.len = scan->xml.open;
    go(scan, state);
    return keep_name(scan, c);
}

static int open_element(struct content_scan *scan)
{
    struct slice name = slice_of(scan->xml.names + scan->xml.open, (size_t)(scan->xml.len - scan->xml.open));
    const uint8_t *colon = memchr(name.data, ':', name.len);
    if (colon != NULL) // Namespaces in XML: one prefix, and something after it
        name = slice_of(colon + 1, (size_t)(name.data + name.len - colon - 1));
    if (name.len == 0 || !is_name_start(name.data[0]) || memchr(name.data, ':', name.len) != NULL)
        return SAGATE_EMALFORMED;
    if (scan->depth >= scan->depth_max)
        return SAGATE_ETOOBIG;
    scan->xml.starts[scan->depth++] = scan->xml.open;
    scan->xml.open = scan->xml.len;
    scan->xml.root_seen = true;
    mark_no_text(scan);
    scan_element(scan, scan->depth, name);
    if (scan->depth == 2)
        (void)scan_value_begin(scan);
    return SAGATE_OK;
}

static int close_element(struct content_scan *scan)
{
    if (scan->depth == 2 && scan->capturing != 0)
        scan_value_end(scan);
    scan->xml.open = scan->xml.starts[--scan->depth];
    return go(scan, XML_TEXT);
}

static int step_text(struct content_scan *scan, uint8_t c)
{
    if (c == '<')
        return go(scan, XML_LT);
    scan->xml.at_start = false;
    if (scan->depth == 0)
        return is_space(c) ? SAGATE_OK : SAGATE_EMALFORMED;
    if (c == '&') {
        scan->xml.in_attribute = false;
        scan->xml.entity_len = 0;
        return go(scan, XML_REFERENCE);
    }
    if (c == '>' && scan->xml.run == 2)
        return SAGATE_EMALFORMED; // "]]>" outside of CDATA
    scan->xml.run = c != ']' ? 0 : scan->xml.run == 0 ? 1 : 2;
    if (at_wanted_text(scan))
        scan_value_byte(scan, c);
    return SAGATE_OK;
}

static int step_lt(struct content_scan *scan, uint8_t c)
{
    scan->xml.len = scan->xml.open;
    if (c == '?') {
        scan->name_utf8 = (struct scan_utf8){0};
        return go(scan, XML_PI_TARGET);
    }
    scan->xml.at_start = false;
    if (c == '!')
        return go(scan, XML_BANG);
    if (c == '/') {
        scan->xml.matched = 0;
        return scan->depth > 0 ? go(scan, XML_END_NAME) : SAGATE_EMALFORMED;
    }
    if (scan->depth == 0 && scan->xml.root_seen)
        return SAGATE_EMALFORMED;
    return begin_name(scan, c, XML_START_NAME);
}

static int step_bang(struct content_scan *scan, uint8_t c)
{
    if (c == '-')
        return go(scan, XML_COMMENT_OPEN);
    return c == '[' && scan->depth > 0 ? go(scan, XML_CDATA_OPEN) : SAGATE_EMALFORMED;
}

static int step_comment(struct content_scan *scan, uint8_t c)
{
    if (scan->xml.run == 2)
        return c == '>' ? go(scan, XML_TEXT) : SAGATE_EMALFORMED; // no "--" inside
    scan->xml.run = c == '-' ? scan->xml.run + 1 : 0;
    return SAGATE_OK;
}

static int step_comment_open(struct content_scan *scan, uint8_t c)
{
    mark_no_text(scan);
    return c == '-' ? go(scan, XML_COMMENT) : SAGATE_EMALFORMED;
}

static int step_cdata_open(struct content_scan *scan, uint8_t c)
{
    static const char keyword[] = "CDATA[";
    if (c != (uint8_t)keyword[scan->xml.run])
        return SAGATE_EMALFORMED;
    return keyword[++scan->xml.run] == '\0' ? go(scan, XML_CDATA) : SAGATE_OK;
}

static int step_cdata(struct content_scan *scan, uint8_t c)
{
    bool wanted = at_wanted_text(scan);
    if (c == ']') {
        if (scan->xml.run < 2)
            scan->xml.run++;
        else if (wanted)
            scan_value_byte(scan, c); // the first of three
        return SAGATE_OK;
    }
    if (c == '>' && scan->xml.run == 2)
        return go(scan, XML_TEXT);
    for (; scan->xml.run > 0; scan->xml.run--) {
        if (wanted)
            scan_value_byte(scan, ']');
    }
    if (wanted)
        scan_value_byte(scan, c);
    return SAGATE_OK;
}

static struct slice in_progress(const struct content_scan *scan)
{
    return slice_of(scan->xml.names + scan->xml.open, (size_t)(scan->xml.len - scan->xml.open));
}

static bool is_xml(struct slice target)
{
    return target.len == 3 && strncasecmp((const char *)target.data, "xml", 3) == 0;
}

static int step_pi_target(struct content_scan *scan, uint8_t c)
{
    struct slice target = in_progress(scan);
    bool first = target.len == 0;
    if (first ? is_name_start(c) : is_name_char(c))
        return keep_name(scan, c);
    if (first || (!is_space(c) && c != '?'))
        return SAGATE_EMALFORMED;
    mark_no_text(scan);
    bool declaration = scan->xml.at_start && slice_is(target, "xml") && is_space(c);
    if (is_xml(target) && !declaration)
        return SAGATE_EMALFORMED;
    scan->xml.at_start = false;
    scan->xml.len = scan->xml.open;
    return go(scan, declaration ? XML_DECLARATION : c == '?' ? XML_PI_END : XML_PI);
}

static int step_pi(struct content_scan *scan, uint8_t c)
{
    if (c == '>' && scan->xml.run == 1)
        return go(scan, XML_TEXT);
    scan->xml.run = c == '?';
    return SAGATE_OK;
}

static void skip_space(struct slice *text)
{
    while (text->len > 0 && is_space(text->data[0]))
        *text = slice_of(text->data + 1, text->len - 1);
}

// Takes `name = "value"` from the front of the declaration.
static bool next_setting(struct slice *text, struct slice *name, struct slice *value)
{
    const uint8_t *start = text->data;
    size_t len = 0;
    while (len < text->len && is_name_char(start[len]))
        len++;
    *name = slice_of(start, len);
    *text = slice_of(start + len, text->len - len);
    skip_space(text);
    if (len == 0 || text->len == 0 || text->data[0] != '=')
        return false;
    *text = slice_of(text->data + 1, text->len - 1);
    skip_space(text);
    if (text->len < 2 || (text->data[0] != '"' && text->data[0] != '\''))
        return false;
    const uint8_t *end = memchr(text->data + 1, text->data[0], text->len - 1);
    if (end == NULL)
        return false;
    *value = slice_of(text->data + 1, (size_t)(end - text->data - 1));
    size_t used = (size_t)(end + 1 - text->data);
    *text = slice_of(text->data + used, text->len - used);
    return text->len == 0 || is_space(text->data[0]);
}

static bool is_nocase(struct slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static bool declaration_ok(struct slice text)
{
    static const char *const names[] = {"version", "encoding", "standalone"};
    size_t next = 0;
    skip_space(&text);
    while (text.len > 0) {
        struct slice name;
        struct slice value;
        if (!next_setting(&text, &name, &value))
            return false;
        if (next == 1 && slice_is(name, "standalone"))
            next = 2;
        if (next > 2 || !slice_is(name, names[next]))
            return false;
        // Another encoding could make other characters out of the bytes that were scanned, and XML 1.1 has more white
        // space.
        bool good = next == 0   ? slice_is(value, "1.0")
                    : next == 1 ? is_nocase(value, "utf-8") || is_nocase(value, "us-ascii")
                                : slice_is(value, "yes") || slice_is(value, "no");
        if (!good)
            return false;
        next++;
        skip_space(&text);
    }
    return next > 0;
}

static int step_declaration(struct content_scan *scan, uint8_t c)
{
    struct slice text = in_progress(scan);
    if (c == '>' && scan->xml.run == 1)
        return declaration_ok(text) ? go(scan, XML_TEXT) : SAGATE_EMALFORMED;
    if (scan->xml.run == 1 || text.len >= SCAN_XML_DECLARATION_MAX)
        return SAGATE_EMALFORMED;
    scan->xml.run = c == '?';
    return c == '?' ? SAGATE_OK : keep(scan, c);
}

// After the name or an attribute of a start tag.
static int step_in_tag(struct content_scan *scan, uint8_t c)
{
    if (c == '/')
        return go(scan, XML_EMPTY);
    return c == '>' ? go(scan, XML_TEXT) : is_space(c) ? go(scan, XML_ATTRIBUTES) : SAGATE_EMALFORMED;
}

static int step_start_name(struct content_scan *scan, uint8_t c)
{
    if (is_name_char(c))
        return keep_name(scan, c);
    if (scan->name_utf8.left != 0)
        return SAGATE_EMALFORMED;
    int result = open_element(scan);
    return result == SAGATE_OK ? step_in_tag(scan, c) : result;
}

static int step_attributes(struct content_scan *scan, uint8_t c)
{
    return is_name_start(c) ? go(scan, XML_ATTRIBUTE_NAME) : step_in_tag(scan, c);
}

static int step_attribute_name(struct content_scan *scan, uint8_t c)
{
    if (is_name_char(c))
        return SAGATE_OK;
    if (is_space(c))
        return go(scan, XML_EQUALS);
    return c == '=' ? go(scan, XML_QUOTE) : SAGATE_EMALFORMED;
}

static int step_attribute_value(struct content_scan *scan, uint8_t c)
{
    if (c == scan->xml.quote)
        return go(scan, XML_ATTRIBUTE_AFTER);
    if (c == '&') {
        scan->xml.in_attribute = true;
        scan->xml.entity_len = 0;
        return go(scan, XML_REFERENCE);
    }
    return c == '<' ? SAGATE_EMALFORMED : SAGATE_OK;
}

static int step_quote(struct content_scan *scan, uint8_t c)
{
    if (is_space(c))
        return SAGATE_OK;
    scan->xml.quote = c;
    return c == '"' || c == '\'' ? go(scan, XML_ATTRIBUTE_VALUE) : SAGATE_EMALFORMED;
}

static int step_end_name(struct content_scan *scan, uint8_t c)
{
    uint16_t start = scan->xml.starts[scan->depth - 1];
    bool whole = start + scan->xml.matched == scan->xml.open;
    if (!whole)
        return (uint8_t)scan->xml.names[start + scan->xml.matched++] == c ? SAGATE_OK : SAGATE_EMALFORMED;
    if (is_space(c))
        return go(scan, XML_END_SPACE);
    return c == '>' ? close_element(scan) : SAGATE_EMALFORMED;
}

static bool is_xml_character(uint32_t code)
{
    return code == 9 || code == 10 || code == 13 || (code >= 0x20 && code <= 0xd7ff) ||
           (code >= 0xe000 && code <= 0xfffd) || (code >= 0x10000 && code <= 0x10ffff);
}

// The code point of "#38", "#x26" or one of the five names; 0 when it is none.
static uint32_t reference_code(const char *text, size_t len)
{
    static const struct {
        const char *name;
        uint8_t code;
    } five[] = {{"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"apos", '\''}, {"quot", '"'}};
    for (size_t i = 0; i < sizeof five / sizeof *five; i++) {
        if (slice_is(slice_of(text, len), five[i].name))
            return five[i].code;
    }
    if (len < 2 || text[0] != '#')
        return 0;
    bool hex = text[1] == 'x';
    size_t i = hex ? 2 : 1;
    uint32_t code = 0;
    if (i == len)
        return 0;
    for (; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        uint8_t lower = c | 0x20;
        bool digit = c >= '0' && c <= '9';
        if (!digit && (!hex || lower < 'a' || lower > 'f'))
            return 0;
        code = code * (hex ? 16 : 10) + (uint32_t)(digit ? c - '0' : lower - 'a' + 10);
    }
    return is_xml_character(code) ? code : 0;
}

static int step_reference(struct content_scan *scan, uint8_t c)
{
    struct scan_xml *xml = &scan->xml;
    if (c != ';') {
        // "#0038": leading zeros say nothing and would not fit
        bool zero = c == '0' && (xml->entity_len == 1 || (xml->entity_len == 2 && xml->entity[1] == 'x')) &&
                    xml->entity[0] == '#';
        if (zero)
            return SAGATE_OK;
        if (xml->entity_len >= sizeof xml->entity)
            return SAGATE_EMALFORMED;
        xml->entity[xml->entity_len++] = (char)c;
        return SAGATE_OK;
    }
    uint32_t code = reference_code(xml->entity, xml->entity_len);
    if (code == 0)
        return SAGATE_EMALFORMED;
    if (!xml->in_attribute && at_wanted_text(scan)) {
        uint8_t bytes[4];
        size_t len = scan_utf8_encode(code, bytes);
        for (size_t i = 0; i < len; i++)
            scan_value_byte(scan, bytes[i]);
    }
    return go(scan, xml->in_attribute ? XML_ATTRIBUTE_VALUE : XML_TEXT);
}

static int step(struct content_scan *scan, uint8_t c)
{
    if (c < 0x20 && !is_space(c))
        return SAGATE_EMALFORMED;
    switch ((enum xml_state)scan->xml.state) {
    case XML_TEXT:
        return step_text(scan, c);
    case XML_LT:
        return step_lt(scan, c);
    case XML_BANG:
        return step_bang(scan, c);
    case XML_COMMENT_OPEN:
        return step_comment_open(scan, c);
    case XML_COMMENT:
        return step_comment(scan, c);
    case XML_CDATA_OPEN:
        return step_cdata_open(scan, c);
    case XML_CDATA:
        return step_cdata(scan, c);
    case XML_PI_TARGET:
        return step_pi_target(scan, c);
    case XML_PI:
        return step_pi(scan, c);
    case XML_PI_END:
        return c == '>' ? go(scan, XML_TEXT) : SAGATE_EMALFORMED;
    case XML_DECLARATION:
        return step_declaration(scan, c);
    case XML_START_NAME:
        return step_start_name(scan, c);
    case XML_ATTRIBUTES:
        return step_attributes(scan, c);
    case XML_ATTRIBUTE_NAME:
        return step_attribute_name(scan, c);
    case XML_EQUALS:
        return is_space(c) ? SAGATE_OK : c == '=' ? go(scan, XML_QUOTE) : SAGATE_EMALFORMED;
    case XML_QUOTE:
        return step_quote(scan, c);
    case XML_ATTRIBUTE_VALUE:
        return step_attribute_value(scan, c);
    case XML_ATTRIBUTE_AFTER:
        return step_in_tag(scan, c);
    case XML_EMPTY:
        return c == '>' ? close_element(scan) : SAGATE_EMALFORMED;
    case XML_END_NAME:
        return step_end_name(scan, c);
    case XML_END_SPACE:
        return is_space(c) ? SAGATE_OK : c == '>' ? close_element(scan) : SAGATE_EMALFORMED;
    case XML_REFERENCE:
        return step_reference(scan, c);
    }
    return SAGATE_EMALFORMED;
}

void scan_xml_init(struct content_scan *scan)
{
    struct scan_xml *xml = &scan->xml;
    xml->open = xml->len = xml->matched = 0;
    xml->state = XML_TEXT;
    xml->quote = xml->run = xml->entity_len = 0;
    xml->in_attribute = xml->root_seen = false;
    xml->at_start = true;
}

int scan_xml_feed(struct content_scan *scan, const uint8_t *data, size_t len)
{
    int result = SAGATE_OK;
    for (size_t i = 0; result == SAGATE_OK && i < len; i++)
        result = step(scan, data[i]);
    return result;
}

int scan_xml_end(struct content_scan *scan)
{
    bool complete = scan->xml.state == XML_TEXT && scan->depth == 0 && scan->xml.root_seen;
    return complete ? SAGATE_OK : SAGATE_EMALFORMED;
}
