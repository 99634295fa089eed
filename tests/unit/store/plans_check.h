/* plans_check.h - no statement that was used reads all of a table that can be large. */
#pragma once
#include "store_test.h"

/* Tables of one row, of mailboxes, of what a transaction touched; and what is no table. */
static const char *const plans_small[] = {
    "SCAN account", "SCAN state", "SCAN box", "SCAN touched", "SCAN CONSTANT ROW", "SCAN (",
};

/* Once in a mount; and counted on a screen. */
static const char *const plans_seldom[] = {
    "DELETE FROM went WHERE box !=",
    "SELECT state = 5, count(*) FROM log GROUP BY 1",
};

static inline bool plans_has_prefix(const char *text, const char *const *prefixes, gsize n)
{
    for (gsize i = 0; i < n; i++)
        if (g_str_has_prefix(text, prefixes[i]))
            return true;
    return false;
}

static inline void plans_check_one(Db *db, const char *sql)
{
    sqlite3_stmt *plan = NULL;
    g_autofree char *explain = g_strconcat("EXPLAIN QUERY PLAN ", sql, NULL);
    assert_int_equal(sqlite3_prepare_v2(db->handle, explain, -1, &plan, NULL), SQLITE_OK);
    while (sqlite3_step(plan) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(plan, 3);
        if (g_str_has_prefix(step, "SCAN") &&
            !plans_has_prefix(step, plans_small, G_N_ELEMENTS(plans_small)))
            fail_msg("%s: %s", step, sql);
    }
    sqlite3_finalize(plan);
}

static inline void plans_check_db(Db *db)
{
    GHashTableIter iter;
    gpointer stmt;
    if (db == NULL)
        return;
    g_hash_table_iter_init(&iter, db->statements);
    while (g_hash_table_iter_next(&iter, NULL, &stmt)) {
        const char *sql = sqlite3_sql(stmt);
        if (!g_str_has_prefix(sql, "PRAGMA") && !strstr(sql, "sqlite_") &&
            !plans_has_prefix(sql, plans_seldom, G_N_ELEMENTS(plans_seldom)))
            plans_check_one(db, sql);
    }
}

static inline void plans_check(Store *store)
{
    plans_check_db(store->writer);
    plans_check_db(store->content.db);
    plans_check_db(store_reader(store)->index);
    plans_check_db(store_reader(store)->content);
}

/* cmocka teardown: of setup_store. */
static inline int plans_teardown(void **state)
{
    plans_check(((Fixture *)*state)->store);
    return teardown_store(state);
}
