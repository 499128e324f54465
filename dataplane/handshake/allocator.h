// Memory of the library's objects: a handshake takes and gives back the same sizes as the one before, so each thread
// keeps some blocks of each at hand.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_ALLOCATOR_H
#define SAGATE_DATAPLANE_HANDSHAKE_ALLOCATOR_H

// Has wolfSSL take its memory here from now on; what it took before may be given back here too. Before any other thread
// uses the library. Does nothing in a build with a sanitizer, which shall see every block.
void allocator_install(void);

// Gives back what the calling thread keeps at hand.
void allocator_release(void);

#endif
