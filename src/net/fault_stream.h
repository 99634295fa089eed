/* fault_stream.h - a layer that ends the program, or the connection, at a byte; private to net. */
#pragma once
#include "imapfs/net/stream.h"

/* Takes lower; itself when IMAPFS_FAULT names neither wire.out nor wire.in. */
Stream *fault_stream_wrap(Stream *lower);
