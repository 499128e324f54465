// CoAP messages as text, so that tests read like a trace: "CON POST a/b 283=r1 |payload".
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_COAP_TEXT_H
#define SAGATE_TESTS_UNIT_COAP_TEXT_H

#include "dataplane/binding/coap/message.h"

// Form: TYPE CODE [token] [option …] [|payload]. TYPE: CON NON ACK RST. CODE: GET POST PUT DELETE, "2.05" or "-" for an
// empty message. Token: "@text", "@*" for sagate's own eight bytes. Option: "number=text", "number=#decimal" for a
// uint (shown so when a byte is not printable, and always for numbers that are uints), or "/segment" for Uri-Path.
// Text in a value ends at a blank.

// Builds a message; aborts when the text is wrong. `token` stands for "@*". Returns the length.
size_t text_to_coap(const char *text, uint16_t mid, const struct coap_token *token, uint8_t *out, size_t cap);

// Describes a message; returns `out`. A token of eight bytes is shown as "@*".
const char *coap_to_text(const uint8_t *data, size_t len, char *out, size_t cap);

#endif
