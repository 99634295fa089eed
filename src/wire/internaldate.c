/* internaldate.c - INTERNALDATE to seconds, without the C library's locale, zone and limits.
 *
 * The rule: a date that is no date is no date; never a guess near to it. Tolerated by name: "space
 * day" ( 7-Jul-1996, or no leading zero at all), "short year" (96, or 100 from year-1900),
 * "missing zone" (UTC), "missing seconds". */
#include "internaldate.h"
#include <string.h>

typedef struct {
    const char *at;
    bool ok;
} Scan;

static gint64 scan_number(Scan *scan, guint min_digits, guint max_digits, gint64 max)
{
    gint64 value = 0;
    guint n = 0;
    for (; n < max_digits && g_ascii_isdigit(scan->at[n]); n++)
        value = value * 10 + (scan->at[n] - '0');
    if (n < min_digits || value > max)
        scan->ok = false;
    scan->at += n;
    return value;
}

static void scan_char(Scan *scan, char c)
{
    if (*scan->at == c)
        scan->at++;
    else
        scan->ok = false;
}

static void scan_spaces(Scan *scan)
{
    scan->at += strspn(scan->at, " ");
}

static gint64 scan_month(Scan *scan)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (guint i = 0; i < 12; i++) {
        if (g_ascii_strncasecmp(scan->at, names + i * 3, 3) == 0) {
            scan->at += 3;
            return i + 1;
        }
    }
    scan->ok = false;
    return 1;
}

static gint64 scan_year(Scan *scan)
{
    const char *start = scan->at;
    gint64 year = scan_number(scan, 2, 4, 9999);
    if (scan->at - start == 2)
        return year + (year < 50 ? 2000 : 1900);
    if (scan->at - start == 3)
        return year + 1900;
    return year;
}

static gint32 scan_zone(Scan *scan)
{
    scan_spaces(scan);
    if (*scan->at == '\0')
        return 0;
    gint32 sign = *scan->at == '-' ? -1 : 1;
    if (*scan->at == '-' || *scan->at == '+')
        scan->at++;
    gint32 hhmm = (gint32)scan_number(scan, 4, 4, 9999);
    if (hhmm / 100 > 23 || hhmm % 100 > 59)
        scan->ok = false;
    return sign * (hhmm / 100 * 60 + hhmm % 100);
}

/* Days from 1970-01-01, proleptic Gregorian; years from March make leap days come last. */
static gint64 days_from_civil(gint64 year, gint64 month, gint64 day)
{
    year -= month <= 2;
    gint64 era = (year >= 0 ? year : year - 399) / 400;
    gint64 year_of_era = year - era * 400;
    gint64 day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static gint64 days_in_month(gint64 year, gint64 month)
{
    static const gint8 days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

bool internaldate_parse(const char *text, gint64 *seconds_out, gint32 *zone_out)
{
    Scan scan = {.at = text, .ok = true};
    gint64 hour, minute, second = 0;
    scan_spaces(&scan);
    gint64 day = scan_number(&scan, 1, 2, 31);
    scan_char(&scan, '-');
    gint64 month = scan_month(&scan);
    scan_char(&scan, '-');
    gint64 year = scan_year(&scan);
    scan_spaces(&scan);
    hour = scan_number(&scan, 1, 2, 23);
    scan_char(&scan, ':');
    minute = scan_number(&scan, 2, 2, 59);
    if (*scan.at == ':') {
        scan.at++;
        second = scan_number(&scan, 2, 2, 60);
    }
    gint32 zone = scan_zone(&scan);
    scan_spaces(&scan);
    if (!scan.ok || *scan.at != '\0' || day < 1 || day > days_in_month(year, month))
        return false;
    *zone_out = zone;
    *seconds_out =
        days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - zone * 60;
    return true;
}
