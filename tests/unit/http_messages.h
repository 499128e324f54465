// The messages that the tests of the HTTP binding's CSE side share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_HTTP_MESSAGES_H
#define SAGATE_TESTS_UNIT_HTTP_MESSAGES_H

// Of a device.
#define GET    "GET /cse/ae HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n\r\n"
#define DELETE "DELETE /cse/ae HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n\r\n"
#define REGISTER                                                                                                \
    "POST /cse HTTP/1.1\r\nHost: gw\r\nX-M2M-RI: r1\r\nContent-Type: application/json;ty=2\r\nContent-Length: " \
    "2\r\n\r\n{}"

// Of a CSE.
#define OK_HEAD "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n"
#define OK      OK_HEAD "Content-Length: 2\r\n\r\n{}"

// The beginning of sagate's own answer when a CSE gives none.
#define UNREACHABLE "HTTP/1.1 404 Not Found\r\nX-M2M-RSC: 5103\r\nX-M2M-RI: r1\r\nX-M2M-RVI: 3\r\n"

#endif
