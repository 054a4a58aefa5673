/*
 * prompt - a secret asked for on a terminal, without echo.
 *
 * The terminal is put back however the wait ends: answer, signal, stop and continue. Threads: one; it
 * replaces signal handlers while it waits.
 */
#ifndef PIAUTH_CLI_PROMPT_H
#define PIAUTH_CLI_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "store/err.h"

/*
 * Asks on the terminal fd (stdin) and reads up to a newline; with `many`, several lines up to Ctrl-D.
 * *ret is in wiping memory, one NUL follows. More than max bytes: TOO_BIG. A terminal that hangs up or an
 * empty answer gives BAD_INPUT. A signal that ends the process ends it here, after the terminal is put
 * back.
 */
int prompt_secret(int fd, const char *question, bool many, size_t max, char **ret, size_t *ret_len,
	struct pa_err *err);

#endif
