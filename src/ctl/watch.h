/* watch.h - what a mount shows and hears besides serving.
 *
 * Layer ctl. A thread of its own: draws a bar on a terminal while a large mailbox is listed, and
 * turns SIGUSR1 into engine_kick. */
#pragma once
#include "imapfs/sync/engine.h"

typedef struct Watch Watch;
/* SIGUSR1 must be blocked in every thread. terminal: where to draw, or -1. */
Watch *watch_start(Engine *engine, int terminal);
void watch_stop(Watch *watch); /* before the engine is freed; NULL is fine */
