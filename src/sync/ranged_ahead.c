/* ranged_ahead.c - what to fetch before somebody asks for it.
 *
 * A reader who begins somewhere and goes forward gets one piece before it is clear that he wants
 * more; then as much ahead as he has read, in whole pieces, up to a limit. Of one that is expected
 * to be read next (ahead.c) the beginning is here before that. */
#include "ranged.h"

#define AHEAD_MAX (4u * 1024 * 1024)
/* Readers' requests overtake each other by so much. */
#define RUN_SLACK (256u * 1024)
/* So far apart the loop is told that reading goes on. */
#define TELL_STEP (256u * 1024)

/* One piece on the wire. */
static guint64 ahead_step(const Ranged *self)
{
    return (guint64)RANGED_CHUNK_BLOCKS * self->block_size;
}

/* Telling the same read again changes nothing. */
void ranged_note_read(Ranged *ranged, guint64 offset, guint64 end)
{
    guint64 run, ahead;

    if (ranged->ahead_end == 0 || offset < ranged->run_start ||
        offset > ranged->run_end + RUN_SLACK) {
        ranged->run_start = offset;
        ranged->run_end = ranged->ahead_end = end;
        return;
    }
    if (end <= ranged->run_end)
        return;
    ranged->run_end = end;
    run = end - ranged->run_start;
    if (run <= ahead_step(ranged))
        ahead = ranged->run_start + ahead_step(ranged);
    else
        ahead = (end + MIN(run, AHEAD_MAX)) / ahead_step(ranged) * ahead_step(ranged);
    ranged->ahead_end = MIN(MAX(ahead, ranged->ahead_end), ranged->told);
}

/* Under the lock. From where the reader began: what he asked for is not always wanted yet when this
 * looks, and is not to come after what follows it. */
static bool find_ahead(const Ranged *self, guint64 *first_out, guint64 *end_out)
{
    guint64 end = ranged_block_end(self, self->ahead_end);
    guint64 first = ranged_block_of(self, self->run_start);

    while (first < end && self->blocks[first] != BLOCK_ABSENT)
        first++;
    *first_out = first;
    *end_out = end;
    return first < end && !self->failed && (self->opens > 0 || self->expected);
}

bool ranged_ahead(Ranged *ranged, guint64 *first_out, guint64 *end_out)
{
    pthread_mutex_lock(&ranged->lock);
    bool found = !ranged->streamed && find_ahead(ranged, first_out, end_out);
    pthread_mutex_unlock(&ranged->lock);
    return found;
}

void ranged_stop_ahead(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    ranged->run_start = ranged->run_end = ranged->ahead_end = 0;
    pthread_mutex_unlock(&ranged->lock);
}

void ranged_note_expected(Ranged *ranged, guint64 encoded)
{
    guint64 bytes = (guint64)((double)encoded / (double)ranged->encoded * (double)ranged->told);

    pthread_mutex_lock(&ranged->lock);
    ranged->expected = !ranged->met;
    if (ranged->run_start == 0)
        ranged->ahead_end = MAX(ranged->ahead_end, MIN(bytes, ranged->told));
    pthread_mutex_unlock(&ranged->lock);
}

void ranged_set_idle(Ranged *ranged, bool idle)
{
    pthread_mutex_lock(&ranged->lock);
    ranged->idle = idle;
    pthread_mutex_unlock(&ranged->lock);
}

/* Seldom, but always at the end. */
static bool went_on(Ranged *self)
{
    if (self->run_start || self->run_end <= self->run_told ||
        (self->run_end - self->run_told < TELL_STEP && self->run_end < self->told))
        return false;
    self->run_told = self->run_end;
    return true;
}

guint64 ranged_read_up_to(Ranged *ranged)
{
    pthread_mutex_lock(&ranged->lock);
    guint64 end = ranged->run_start ? 0 : ranged->run_end;
    pthread_mutex_unlock(&ranged->lock);
    return (guint64)((double)end / (double)ranged->told * (double)ranged->encoded);
}

/* When half of what was read ahead is used up. */
bool ranged_note_wake(Ranged *ranged)
{
    guint64 first, end;

    if (went_on(ranged))
        return true;
    if (!ranged->idle || ranged->run_end - ranged->run_start <= ahead_step(ranged) ||
        !find_ahead(ranged, &first, &end) ||
        first * ranged->block_size > ranged->run_end + (ranged->ahead_end - ranged->run_end) / 2)
        return false;
    ranged->idle = false;
    return true;
}
