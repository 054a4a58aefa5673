/*
 * log - the only way in which the server says something: stderr in the foreground, else syslog.
 *
 * Every line passes the redactor before it leaves, so text from outside may be handed in; a struct
 * secret cannot. Lines are cut at LOG_LINE. Threads: any, after log_open.
 */
#ifndef PIAUTH_LOG_H
#define PIAUTH_LOG_H

#include <stdarg.h>

#include "store/err.h"

#define LOG_LINE 1024

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO };

/*
 * Until then: stderr, each line beginning with "piauth: ". From then on syslog; standard input, output and
 * error, which are somebody's terminal, become /dev/null.
 */
void log_to_syslog(void);
void log_line(enum log_level level, const char *fmt, ...) PA_PRINTF(2, 3);
#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
/* subject (may be NULL): what it is about. */
void log_err(enum log_level level, const char *subject, const struct pa_err *err);
void log_vline(enum log_level level, const char *fmt, va_list args) PA_PRINTF(2, 0);

#endif
